"""Embeddings of a user's own files and of a run's data: whole, in every format, after a kill; and what is alike."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch
from commands.text_runs import TEXTS, write_text_run
from PIL import Image
from runs.harness import TINY, run_here, train

import ssl_lightning
from ssl_lightning.commands import embed as command
from ssl_lightning.data.audio.modality import AudioModality
from ssl_lightning.data.video.modality import VideoModality
from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.load import load_method


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("embedded") / "run", *TINY, "callbacks=minimal", "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pictures in two class folders, of which two are the same, and a file that is none."""
    home, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (home / name).mkdir()
        for number in range(10):
            Image.fromarray(draw.integers(0, 256, (40, 30, 3), np.uint8)).resize((300, 400)).save(
                home / name / f"{number}.png"
            )
    Image.open(home / "cats" / "3.png").save(home / "dogs" / "twin.png")
    (home / "cats" / "5.png").write_text("no picture")
    return home


def embedded(run: RunFolder, out: Path, *overrides: str) -> Path:
    """`ssl-embed` in this process."""
    run_here("embed", out, f"run={run.path}", "data.batch_size=4", *overrides)
    return out


def stored(out: Path) -> dict[str, np.ndarray]:
    """`embeddings.npz`."""
    with np.load(out / "embeddings.npz") as file:
        return dict(file)


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_every_format_holds_what_the_encoder_gives(run: RunFolder, photos: Path, tmp_path: Path) -> None:
    out = embedded(run, tmp_path, f"input={photos}", "neighbours=3", "duplicates=0.999")
    found = stored(out)
    names, labels = found["names"].tolist(), found["labels"].tolist()
    assert (len(names), names[:2], labels[:2]) == (20, ["cats/0.png", "cats/1.png"], ["cats", "cats"])
    assert (names[-1], labels[-1]) == ("dogs/twin.png", "dogs")
    expected = ssl_lightning.load(run.path)([photos / name for name in names])
    np.testing.assert_allclose(found["features"], expected.numpy(), rtol=1e-4, atol=1e-5)
    origin = json.loads((out / "embeddings.json").read_text())
    assert list(origin["unreadable"]) == ["cats/5.png"]
    assert (origin["samples"], origin["width"]) == found["features"].shape
    for kind in ("npy", "parquet"):
        embedded(run, tmp_path, f"input={photos}", f"format={kind}", "map=null")
    np.testing.assert_array_equal(np.load(out / "embeddings.npy", mmap_mode="r"), found["features"])
    assert table(out / "embeddings.csv") == [["name", "label"], *map(list, zip(names, labels, strict=True))]
    rows = pyarrow.parquet.read_table(out / "embeddings.parquet").to_pydict()
    assert (rows["name"], rows["label"]) == (names, labels)
    np.testing.assert_array_equal(np.array(rows["embedding"], np.float32), found["features"])
    assert table(out / "duplicates.csv")[1:] == [["cats/3.png", "dogs/twin.png", "1.0000"]]
    neighbors = table(out / "neighbors.csv")
    assert len(neighbors) == 1 + 20 * 3
    assert neighbors[1 + 3 * 3] == ["cats/3.png", "1", "dogs/twin.png", "1.0000"]
    assert {file.name for file in out.iterdir()} == {
        *(f"embeddings.{kind}" for kind in ("npz", "npy", "parquet", "csv", "json")),
        *("neighbors.csv", "neighbors.png", "duplicates.csv", "map.png", ".lock"),
    }


def test_two_commands_do_not_write_into_one_folder(run: RunFolder, photos: Path, tmp_path: Path) -> None:
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match="another process works in"):
            embedded(run, tmp_path, f"input={photos}", "map=null")
        other.kill()


def test_a_killed_command_goes_on_where_it_was(
    run: RunFolder, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (f"input={photos}", "format=npy", "map=null")
    whole = np.load(embedded(run, tmp_path / "whole", *arguments) / "embeddings.npy")
    encode, calls = command.embedded, []

    def counted(*given: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return encode(*given)

    monkeypatch.setattr(command, "embedded", counted)
    monkeypatch.setattr(command, "_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        embedded(run, tmp_path / "killed", *arguments)
    with (tmp_path / "killed" / "embeddings.part").open("ab") as file:
        file.write(b"half a row")  # that was not noted any more
    resumed = np.load(embedded(run, tmp_path / "killed", *arguments) / "embeddings.npy")
    assert len(calls) == 4 + 3 + 4  # killed in the second batch of six, which is read one by one
    np.testing.assert_array_equal(resumed, whole)


def test_other_files_are_embedded_anew(run: RunFolder, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text('{"stamp": "of others", "read": 8, "bytes": 12, "width": 3}')
    (tmp_path / "embeddings.part").write_bytes(b"0" * 12)
    out = embedded(run, tmp_path, f"input={photos}/cats/0.png", "neighbours=5")
    assert stored(out)["features"].shape == (1, 16)


def test_a_map_without_labels_shows_the_pictures(run: RunFolder, photos: Path, tmp_path: Path) -> None:
    out = embedded(run, tmp_path, f"input={photos}/cats")  # of which one cannot be read
    with Image.open(out / "map.png") as drawn:
        assert drawn.height > 800  # dots take half of that


def test_the_data_of_a_run(run: RunFolder, tmp_path: Path) -> None:
    found = stored(embedded(run, tmp_path, "split=val", "map=pca", "data.batch_size=64"))
    assert (found["features"].shape, sorted(set(found["labels"]))) == ((100, 16), [str(digit) for digit in range(10)])
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_another_data_set_is_seen_as_the_run_sees_its_own(run: RunFolder, tmp_path: Path) -> None:
    for split, name in ((split, name) for split in ("train", "test") for name in ("bright", "dark")):
        folder = tmp_path / "images" / split / name
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (40, 30), (200 * (name == "bright"), 10 * number, 0)).save(folder / f"{number}.png")
    place = (f"data.root={tmp_path}/images", f"data.source.cache={tmp_path}/cache", "split=test", "neighbours=1")
    out = embedded(run, tmp_path / "out", "data=image_folder", *place)
    found = stored(out)
    assert (found["names"].tolist(), found["labels"].tolist()) == (list("012345"), ["bright"] * 3 + ["dark"] * 3)
    files = [
        tmp_path / "images" / "test" / name / f"{number}.png" for name in ("bright", "dark") for number in range(3)
    ]
    expected = ssl_lightning.load(run.path)(files)
    np.testing.assert_allclose(found["features"], expected.numpy(), rtol=1e-4, atol=1e-5)
    origin = json.loads((out / "embeddings.json").read_text())
    assert origin["input"] == f"image_folder {tmp_path}/images, test"
    assert (out / "map.png").stat().st_size > 1000
    for mistake, answer in ((f"input={tmp_path}", "input= and data= are both given"), ("data=vowels", "is a Audio")):
        with pytest.raises(InputError, match=answer):
            embedded(run, tmp_path, "data=digits", mistake)


def test_texts_and_their_neighbors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CACHE", str(tmp_path / "cache"))
    run = write_text_run(tmp_path / "run", "mlm")
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(TEXTS[:3] + TEXTS[:1]):
        (tmp_path / "texts" / f"{number}.txt").write_text(text)
    out = embedded(run, tmp_path / "out", f"input={tmp_path}/texts", "neighbours=2")
    names = stored(out)["names"].tolist()
    assert names == ["0.txt", "1.txt", "2.txt", "3.txt"]
    (tmp_path / "table.csv").write_text(f"text\n{TEXTS[0]}\n")
    one = embedded(run, tmp_path / "one", f"input={tmp_path}/table.csv")
    assert stored(one)["names"] == ["0: the cat sat on the mat and the dog sat on the log."]
    assert table(out / "duplicates.csv")[1:] == [[names[0], names[3], "1.0000"]]
    assert (out / "neighbors.png").stat().st_size > 1000


def test_texts_are_called_by_their_files_in_class_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CACHE", str(tmp_path / "cache"))
    for name, text in {"pos/1.txt": "good", "pos/2.txt": " \n", "neg/1.txt": "bad", "neg/3.md": "worse"}.items():
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_text(text)
    modality = load_method(write_text_run(tmp_path / "run", "mlm"))[1].modality
    samples = modality.find_samples(str(tmp_path / "texts"))  # a file of nothing but space is none
    assert (samples.names, samples.classes) == (["neg/1.txt", "neg/3.md", "pos/1.txt"], ["neg", "pos"])
    assert samples.labels.tolist() == [0, 0, 1]
    assert modality.find_samples(f"{tmp_path}/texts/pos/*.txt").names == ["1.txt"]


def test_folders_of_frames_are_clips(tmp_path: Path) -> None:
    for clip in range(2):
        (tmp_path / f"clip{clip}").mkdir()
        for frame in range(11):
            Image.new("L", (8, 8), 10 * clip + frame).save(tmp_path / f"clip{clip}" / f"{frame}.png")
    modality = VideoModality(8, 1, [0.5], [0.5])
    samples = modality.find_samples(str(tmp_path))
    assert samples.names == ["clip0", "clip1"]
    assert samples.batch([1])["video"][0, :, 0, 0, 0].tolist() == list(range(10, 21))
    first = modality.thumbnails(samples.batch([0, 1]))
    assert (255 * first[:, 0, 0, 0]).round().tolist() == [0, 10]


def test_recordings_in_class_folders(tmp_path: Path) -> None:
    for name, level in (("dog", 0.25), ("cat", 0.5)):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "1.wav", np.full(400, level), 8000)
    samples = AudioModality(8000, 800).find_samples(str(tmp_path))
    assert (samples.names, samples.labels.tolist(), samples.classes) == (
        ["cat/1.wav", "dog/1.wav"],
        [0, 1],
        ["cat", "dog"],
    )
    found = samples.batch([1])
    assert (found["length"].tolist(), round(float(found["waveform"][0, 100]), 3)) == ([400], 0.25)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("input=nowhere",), "there is no image and no folder at nowhere"),
        (("input=BROKEN",), "no sample can be read: .*5.png cannot be read as an image"),
        (("checkpoint=nowhere.ckpt",), "there is no checkpoint"),
    ],
)
def test_a_wrong_input_is_one_line(
    run: RunFolder, photos: Path, tmp_path: Path, arguments: tuple[str, ...], answer: str
) -> None:
    with pytest.raises(InputError, match=answer):
        embedded(run, tmp_path, *(text.replace("BROKEN", f"{photos}/cats/5.png") for text in arguments))
