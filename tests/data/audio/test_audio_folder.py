from pathlib import Path

import numpy as np
import pytest
from data.audio.sounds import tone, truncate, write

from ssl_lightning.data.audio.audio_folder import audio_folder
from ssl_lightning.data.audio.dataset import AudioDataset
from ssl_lightning.errors import InputError, InputWarning


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CACHE", str(tmp_path / "cache"))


def read(root: Path, split: str = "train", **options) -> AudioDataset:
    return audio_folder(str(root), split, **{"length": 100, "sample_rate": 8000, **options})


def lengths(clips: AudioDataset) -> list[int]:
    return clips.__getitems__(range(len(clips)))["length"].tolist()


def test_long_recordings_are_cut_and_short_ones_padded(tmp_path: Path) -> None:
    wave = tone(250 / 8000, 8000)
    write(tmp_path / "v/train/a.wav", wave)
    write(tmp_path / "v/train/b.flac", wave[:60])
    write(tmp_path / "v/test/c.wav", wave[:30])
    clips = read(tmp_path / "v")
    batch = clips.__getitems__(range(4))
    assert batch["length"].tolist() == [100, 100, 50, 60]
    assert batch["waveform"].shape == (4, 100)
    np.testing.assert_allclose(
        np.concatenate([batch["waveform"][:2].flatten(), batch["waveform"][2, :50]]), wave, atol=1e-4
    )
    assert not batch["waveform"][2, 50:].any()
    assert not batch["waveform"][3, 60:].any()
    assert clips.groups.tolist() == [0, 0, 0, 1]
    assert clips.labels is None
    assert lengths(read(tmp_path / "v", "test")) == [30]


def test_class_folders_are_labels_and_files_are_held_out_whole(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(10):
            write(tmp_path / "v" / name / f"{number}.wav", 150)
    train, test = read(tmp_path / "v"), read(tmp_path / "v", "test")
    assert train.classes == test.classes == ["cat", "dog"]
    assert np.bincount(train.labels).tolist() == [16, 16]
    assert np.bincount(test.labels).tolist() == [4, 4]
    assert not set(train.groups) & set(test.groups)


TABLE = """path,label,speaker,split
a.wav,yes,ann,train
b.wav,no,ann,train
sub/c.wav,no,bob,val
sub/d.wav,yes,cid,test
"""


def write_table(home: Path, text: str) -> None:
    for name in ("a", "b", "sub/c", "sub/d"):
        write(home / f"{name}.wav", 150)
    (home / "list.csv").write_text(text, encoding="utf-8-sig")


def test_a_table_tells_labels_speakers_and_splits(tmp_path: Path) -> None:
    write_table(tmp_path, TABLE)
    train, test = read(tmp_path, table="list.csv"), read(tmp_path, "test", table="list.csv")
    assert (train.classes, train.labels.tolist()) == (["no", "yes"], [1, 1, 0, 0, 0, 0])
    assert train.groups.tolist() == [0, 0, 0, 0, 1, 1]
    assert train.validation.tolist() == [False] * 4 + [True] * 2
    assert (test.labels.tolist(), test.groups.tolist()) == ([1, 1], [2, 2])
    assert len(list((tmp_path / "cache").glob("*/values.bin"))) == 1


def test_a_table_without_splits_holds_out_whole_speakers(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / f"{number}.wav", 50)
    rows = "".join(f"{number}.wav,speaker {number % 5}\n" for number in range(20))
    (tmp_path / "list.csv").write_text(f"path,speaker\n{rows}")
    train, test = read(tmp_path, table="list.csv"), read(tmp_path, "test", table="list.csv")
    assert (len(train), len(test), len(set(test.groups))) == (16, 4, 1)
    assert not set(train.groups) & set(test.groups)
    assert train.labels is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\nyes\n", "list.csv needs a column path"),
        ("", "list.csv needs a column path"),
        ("path,label\na.wav,yes\nb.wav\n", "list.csv, line 3, has nothing in its column label"),
        ("path,split\na.wav,trian\n", "has a split 'trian': choose one of train, test, val"),
        ("path,split\na.wav,train\n", "has no recording for the test split"),
        ("path\n\xff", None),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str | None) -> None:
    write_table(tmp_path, text)
    if message is None:
        (tmp_path / "list.csv").write_bytes(b"path\n\xff\n")
    with pytest.raises(InputError, match=message or "list.csv cannot be read as a table") as caught:
        read(tmp_path, "test", table="list.csv")
    assert "\n" not in str(caught.value)


def test_bad_files_are_named_and_left_out_or_fatal(tmp_path: Path) -> None:
    home = tmp_path / "v" / "train"
    write(home / "a.wav", 50)
    (home / "b.mp3").write_text("no sound")
    truncate(write(home / "c.wav", 60))
    write(home / "d.wav", 70)
    with pytest.warns(InputWarning, match=r"left out: 2 of 4 files cannot be read: .*b\.mp3 .*c\.wav \(truncated"):
        assert lengths(read(tmp_path / "v")) == [50, 70]
    with pytest.raises(InputError, match=r"2 of 4 files cannot be read: .*b\.mp3"):
        read(tmp_path / "v", on_corrupt="raise")


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        ("train", {"folder": "nowhere"}, "nowhere does not exist: data.root and data.source.folder must lead to"),
        ("train", {"folder": "bare"}, r"bare holds no sound: looked for .flac .mp3 .ogg .wav"),
        ("valid", {}, "a folder of sound has no split 'valid'"),
        ("train", {"table": "no.csv"}, "no.csv cannot be read as a table"),
        ("train", {"test_size": 1}, "data.source.test_size=1 leaves nothing"),
    ],
)
def test_impossible(tmp_path: Path, split: str, options: dict, message: str) -> None:
    (tmp_path / "bare").mkdir()
    write(tmp_path / "a.wav")
    with pytest.raises(InputError, match=message):
        read(tmp_path, split, **options)
