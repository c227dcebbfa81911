from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_lightning.data.video.frame_folder import frame_folder
from ssl_lightning.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CACHE", str(tmp_path / "cache"))


def write_video(folder: Path, frames: int, first: int = 0) -> None:
    """Frame t is one gray, first + t; the names have no leading zeros."""
    folder.mkdir(parents=True)
    for t in range(frames):
        Image.fromarray(np.full((6, 6), first + t, np.uint8)).save(folder / f"frame_{t}.png")


def grays(clips, rows=None) -> list[list[int]]:
    batch = clips.__getitems__(range(len(clips)) if rows is None else rows)
    return batch["video"][:, :, 0, 0, 0].tolist()


def read(root: Path, split: str = "train", **options):
    return frame_folder(str(root), split, **{"frames": 4, "store_size": 6, "channels": 1, **options})


def test_clips_are_consecutive_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "train" / "a", 12)
    write_video(tmp_path / "v" / "train" / "b", 7, first=100)
    write_video(tmp_path / "v" / "test" / "c", 4, first=200)
    clips = read(tmp_path / "v")
    assert grays(clips) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [100, 101, 102, 103]]
    assert clips.groups.tolist() == [0, 0, 0, 1]
    assert clips.labels is None
    assert grays(read(tmp_path / "v", "test")) == [[200, 201, 202, 203]]
    batch = clips.subset([2, 3]).__getitems__([1])
    assert batch["video"].shape == (1, 4, 1, 6, 6)
    assert batch["video"].dtype == torch.uint8
    assert batch["index"].tolist() == [3]


def test_skip_and_stride(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "train" / "a", 12)
    write_video(tmp_path / "v" / "test" / "b", 4)
    assert grays(read(tmp_path / "v", frames=3, skip=2, stride=1)) == [
        [0, 2, 4],
        [2, 4, 6],
        [4, 6, 8],
        [6, 8, 10],
    ]
    assert grays(read(tmp_path / "v", frames=12)) == [list(range(12))]


def test_whole_videos_are_held_out(tmp_path: Path) -> None:
    for number in range(5):
        write_video(tmp_path / "v" / f"video_{number}", 9, first=20 * number)
    train, test = read(tmp_path / "v"), read(tmp_path / "v", "test")
    owners = [{frame // 20 for clip in grays(clips) for frame in clip} for clips in (train, test)]
    assert (len(owners[0]), len(owners[1])) == (4, 1)
    assert not owners[0] & owners[1]
    assert grays(read(tmp_path / "v", "test")) == grays(test)


def test_class_folders_are_labels(tmp_path: Path) -> None:
    for split, names in (("train", ("run", "walk")), ("test", ("walk",))):
        for name in names:
            write_video(tmp_path / "v" / split / name / "one", 4, first=10 if name == "walk" else 0)
    clips, test = read(tmp_path / "v"), read(tmp_path / "v", "test")
    assert clips.classes == test.classes == ["run", "walk"]
    assert clips.__getitems__([0, 1])["label"].tolist() == [0, 1]
    assert test.labels.tolist() == [1]


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist: data.root and data.source.folder"):
        read(tmp_path / "nowhere")
    write_video(tmp_path / "v" / "a", 3)
    write_video(tmp_path / "v" / "b", 3)
    with pytest.raises(InputError, match="has no video of 4 frames for the train split"):
        read(tmp_path / "v")
    (tmp_path / "v" / "a" / "frame_1.png").write_text("no image")
    with pytest.raises(InputError, match=r"1 of 6 files cannot be read: .*frame_1.png \(not an image"):
        read(tmp_path / "v")
