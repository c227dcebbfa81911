"""Any folder of files of sound as clips."""

import csv
from pathlib import Path

import numpy as np

from ssl_lightning.data.audio.audio_cache import decode_sound
from ssl_lightning.data.audio.dataset import AudioDataset
from ssl_lightning.data.decoded import OnCorrupt, readable
from ssl_lightning.data.folder import Files, find_files, label_files
from ssl_lightning.data.splits import numbered, require_split
from ssl_lightning.errors import InputError, told
from ssl_lightning.ranges import PositiveInt, Seed, Size

EXTENSIONS = {".wav", ".flac", ".ogg", ".mp3"}
COLUMNS = ("path", "label", "speaker", "split")


def audio_folder(
    root: str,
    split: str,
    length: PositiveInt,
    sample_rate: PositiveInt,
    folder: str = "",
    table: str | None = None,
    cache: str | None = None,
    on_corrupt: OnCorrupt = "skip",
    test_size: Size = 0.2,
    seed: Seed = 0,
) -> AudioDataset:
    """Split "pretrain", "train" (the same) or "test" of `root/folder`: clips of at most `length` samples.

    The layouts are those of `image_folder`, of .wav, .flac, .ogg and .mp3 files. Or a `table` in the folder, a .csv
    file, has a row a file: `path` and, where they are known, `label`, `speaker` and `split` (train, test, val), which
    tells the test set and the validation part. Without a column `split`, `test_size` (count or fraction) of the files
    is held out, by label and whole speakers, fixed by `seed`.

    Recordings of any rate and number of channels become mono at `sample_rate`. Long ones are cut into clips. The
    files are decoded once, see `audio_cache`; `cache` and `on_corrupt` are as for `image_folder`.

    Raises:
        InputError: the folder or table is missing, unreadable or empty, or a column is incomplete.
    """
    require_split(split, "a folder of sound")
    home = Path(root).expanduser() / folder
    if table:
        found = _in_table(home, table)
    else:
        place, files, training = find_files(home, split, EXTENSIONS, "sound")
        found = Files(place, files, *label_files(files, training, place))
    if found.test is None and found.place == home:
        found.hold_out(test_size, seed)
    return clips(found, split, length, sample_rate, cache, on_corrupt)


def clips(
    found: Files, split: str, length: int, sample_rate: int, cache: str | None, on_corrupt: OnCorrupt
) -> AudioDataset:
    """The clips of one split, `groups` being speakers; all files are decoded, so that the splits share one cache.

    Raises:
        InputError: there are none, or `on_corrupt` is "raise" and a file cannot be read.
    """
    samples, offsets, corrupt = decode_sound(found.place, found.files, sample_rate, cache)
    good = readable(found.place, found.files, corrupt, on_corrupt) & found.of_split(split)
    if not good.any():
        raise InputError(f"{found.place.resolve()} has no recording for the {split} split")
    known = {name: getattr(found, name) for name in ("labels", "classes", "groups", "validation")}
    return AudioDataset(samples, offsets, length, **known).of_documents(good)


def _in_table(home: Path, table: str) -> Files:
    file = home / table
    with told(f"{file} cannot be read as a table"), file.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    columns = {name: [row[name] for row in rows] for name in COLUMNS if rows and name in rows[0]}
    for name, column in columns.items():
        if lines := [line for line, value in enumerate(column, start=2) if not value]:
            raise InputError(f"{file}, line {lines[0]}, has nothing in its column {name}")
    if "path" not in columns:
        raise InputError(f"{file} needs a column path, and may have label, speaker and split")
    found = Files(home, columns["path"])
    if "label" in columns:
        found.labels, found.classes = numbered(columns["label"])
    if "speaker" in columns:
        found.groups, _ = numbered(columns["speaker"])
    if "split" in columns:
        if unknown := set(columns["split"]) - {"train", "test", "val"}:
            raise InputError(f"{file} has a split {min(unknown)!r}: choose one of train, test, val")
        found.test, found.validation = (np.array(columns["split"]) == name for name in ("test", "val"))
    return found
