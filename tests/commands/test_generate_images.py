"""What `ssl-generate` makes of pictures, by a real run, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands.text_runs import write_text_run
from composition import task
from omegaconf import OmegaConf
from PIL import Image
from runs.harness import command, run_here, train

from ssl_lightning.data.image.digits import digits
from ssl_lightning.errors import InputError
from ssl_lightning.figures.images import columns_figure, unnormalized
from ssl_lightning.modules.patches import patchify
from ssl_lightning.randomness import seed_generators
from ssl_lightning.runs.folder import RunFolder, quoted
from ssl_lightning.runs.load import load_method
from ssl_lightning.runs.pretext import run_pretext_task

TINY = (
    "method=mae",
    "trainer=cpu",
    "trainer.max_epochs=null",
    "trainer.max_steps=3",
    "backbone.width=16",
    "backbone.heads=2",
    "backbone.layers=1",
    "method.decoder_width=16",
    "data.fraction=0.02",
    "data.batch_size=32",
    "data.val_size=64",
    "callbacks.probe=null",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("mae") / "run", *TINY)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three: gray of the size of the run, in color and larger, and a wide one with transparency."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(digits(split="test", copies=1).images[0, 0]).save(folder / "a digit, [1].png")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (60, 50, 3), dtype=np.uint8)).save(folder / "color.jpg")
    Image.fromarray(rng.integers(0, 256, (20, 90, 4), dtype=np.uint8)).save(folder / "wide.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def run_generate(out: Path, *overrides: str, given: Path | str | None = None, text: str | None = None) -> dict:
    words = list(overrides)
    words += [f"{key}={quoted(value)}" for key, value in (("input", given), ("text", text)) if value is not None]
    run_here("generate", out, *words)
    (written,) = out.glob("*.json")
    return json.loads(written.read_text())


def test_a_run_leaves_a_picture_of_its_task(run: RunFolder) -> None:
    assert np.asarray(Image.open(run.figures / "task.png")).std() > 10
    assert (run.figures / "views.png").is_file()


def test_a_folder_of_pictures(run: RunFolder, pictures: Path, tmp_path: Path, capsys: Any) -> None:
    made = run_generate(tmp_path / "out", f"run='{run.path}'", given=pictures)
    assert [Path(file).name for file in made["files"]] == ["a digit, [1].png", "color.jpg", "wide.png"]
    assert made["columns"] == ["image", "masked", "reconstruction"]
    assert made["left_out"] == 0
    assert made["checkpoint"] == str(run.last)
    figure = tmp_path / "out" / made["figure"]
    assert np.asarray(Image.open(figure)).std() > 10
    assert made["figure"] in capsys.readouterr().err


def test_one_picture_is_shown_whole_and_a_seed_repeats_its_mask(run: RunFolder, pictures: Path, tmp_path: Path) -> None:
    options = (f"run='{run.path}'",)
    for number, seed in enumerate((1, 1, 2)):
        run_generate(tmp_path / str(number), *options, f"seed={seed}", given=pictures / "a digit, [1].png")
    first, again, other = (next((tmp_path / str(number)).glob("*.png")).read_bytes() for number in range(3))
    assert first == again != other


def test_what_is_shown_is_what_the_method_does(run: RunFolder) -> None:
    """Without touching the method, its mode or the global random state."""
    method, _ = load_method(run)
    method.train()
    state = torch.get_rng_state()
    x = torch.randn(4, 1, 28, 28)
    torch.set_rng_state(state)
    columns = run_pretext_task(method, {"views": [x], "index": torch.arange(4)}, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert method.training
    seed_generators(5, 5)
    expected = method.eval().show({"views": [x]})
    assert all(torch.equal(columns[name], column) for name, column in expected.items())
    assert int((patchify(columns["masked"], 4) != 0).any(dim=2).sum(dim=1).max()) == 12


def test_a_figure_has_a_title_a_column_and_a_name_a_row() -> None:
    image = torch.rand(2, 3, 4, 4)
    figure = columns_figure({"one": image, "two": image[:, :1]}, ["a", "b"])
    axes = np.array(figure.axes).reshape(2, 2)
    assert [each.get_title() for each in axes[0]] == ["one", "two"]
    assert [each.get_ylabel() for each in axes[:, 0]] == ["a", "b"]
    assert np.array_equal(axes[1, 0].images[0].get_array(), image[1].permute(1, 2, 0))
    normalized = (image - 0.4) / 0.2
    torch.testing.assert_close(unnormalized(normalized, [0.4] * 3, [0.2] * 3), image)


def test_only_so_many(run: RunFolder, pictures: Path, tmp_path: Path, capsys: Any) -> None:
    made = run_generate(tmp_path / "out", f"run='{run.path}'", "max_images=2", given=pictures)
    assert len(made["files"]) == 2
    assert made["left_out"] == 1
    assert "1 more pictures are left out: max_images=2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "options", "answer"),
    [
        ("nowhere.png", (), "there is no image and no folder at .*nowhere.png"),
        ("empty", (), "empty holds no image: looked for .bmp"),
        ("notes.png", (), r"notes.png cannot be read as an image \(cannot identify image file"),
        ("cut.png", (), r"cut.png cannot be read as an image"),
        ("a.png", ("checkpoint=best",), "there is no checkpoint at .*best.ckpt"),
        (" ", (), "pictures need a run and a path"),
    ],
)
def test_what_is_wrong_is_said(
    run: RunFolder, tmp_path: Path, given: str, options: tuple[str, ...], answer: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.png").write_text("no picture")
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:800])
    with pytest.raises(InputError, match=answer):
        run_generate(
            tmp_path / "out", f"run='{run.path}'", *options, given=tmp_path / given if given.strip() else given
        )


def test_wrong_pairings(run: RunFolder, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="trained MAE, which cannot continue, fill or restore a text; methods that can"
    ):
        run_generate(tmp_path, f"run='{run.path}'", text="a")
    text_run = write_text_run(tmp_path / "text", "causal_lm")
    with pytest.raises(InputError, match=r"takes text: give text=\.\.\. instead of input="):
        run_generate(tmp_path, f"run='{text_run.path}'", given=pictures)
    with pytest.raises(
        InputError, match=r"trained MAE, which cannot rank captions and pictures.*methods that can: clip, siglip"
    ):
        run_generate(tmp_path, f"run='{run.path}'", given=pictures, text="a")
    with pytest.raises(InputError, match="pictures need a run and a path"):
        run_generate(tmp_path, "checkpoint=gpt2", given=pictures)
    simclr = RunFolder(tmp_path / "simclr")
    simclr.config.parent.mkdir(parents=True)
    OmegaConf.save(task(), simclr.config)
    with pytest.raises(
        InputError, match=r"trained SimCLR, which cannot show its task on a picture; methods .*mae.*simmim"
    ):
        run_generate(tmp_path, f"run='{simclr.path}'", given=pictures)


def test_the_command_takes_any_file_name(run: RunFolder, pictures: Path, tmp_path: Path) -> None:
    done = command("generate", f"run={run.path}", f"input={pictures / 'a digit, [1].png'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((run.path / "generate").glob("*.png"))) == 1
    done = command("generate", f"run={run.path}", "input=nowhere.png", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["ssl-generate: there is no image and no folder at nowhere.png"]
