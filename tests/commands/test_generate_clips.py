"""A run on video leaves a film of its task, and goes on with the frames of a folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands.test_generate_images import run_generate
from PIL import Image
from runs.harness import train

from ssl_lightning.data.folder import natural
from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder

TINY = (
    "method=next_frame",
    "trainer=cpu",
    "trainer.max_epochs=null",
    "trainer.max_steps=2",
    "backbone.width=4",
    "backbone.depth=1",
    "backbone.hidden_dim=16",
    "data.source.copies=1",
    "data.fraction=0.16",
    "data.batch_size=32",
    "data.val_size=50",
    "callbacks.probe=null",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("next_frame") / "run", *TINY)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "film"
    folder.mkdir()
    for t in range(12):
        Image.fromarray(np.full((40, 60, 3), 20 * t, np.uint8)).save(folder / f"{t}.png")
    return folder


def pages(path: Path) -> int:
    with Image.open(path) as file:
        return int(getattr(file, "n_frames", 1))


def test_a_run_leaves_a_film_of_its_task(run: RunFolder) -> None:
    assert np.asarray(Image.open(run.figures / "task.png")).std() > 10
    assert pages(run.figures / "task.gif") == 10


def test_a_film_goes_on(run: RunFolder, frames: Path, tmp_path: Path, capsys: Any) -> None:
    made = run_generate(tmp_path / "out", f"run='{run.path}'", "frames=7", given=frames)
    assert [Path(file).name for file in made["files"]] == [f"{t}.png" for t in range(12)]
    assert made["columns"] == ["seen", "predicted"]
    assert pages(tmp_path / "out" / made["figure"]) == 12 + 7
    assert (tmp_path / "out" / made["figure"]).with_suffix(".png").is_file()


def test_the_last_frames_are_gone_on_from(run: RunFolder, frames: Path, tmp_path: Path, capsys: Any) -> None:
    made = run_generate(tmp_path / "out", f"run='{run.path}'", "max_images=6", given=frames)
    assert [Path(file).name for file in made["files"]] == [f"{t}.png" for t in range(6, 12)]
    assert made["left_out"] == 6


def test_too_few_frames(run: RunFolder, frames: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are 1 frames, but 5 must be seen"):
        run_generate(tmp_path / "out", f"run='{run.path}'", given=frames / "3.png")


def test_numbers_in_names_count_as_numbers() -> None:
    names = ["b/f_2.png", "a/f_10.png", "a/f_9.png", "a/f.png", "a/10.png", "a/9b.png"]
    assert sorted(names, key=natural) == ["a/9b.png", "a/10.png", "a/f.png", "a/f_9.png", "a/f_10.png", "b/f_2.png"]
