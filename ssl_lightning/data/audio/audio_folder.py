"""Any folder of files of sound as clips."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from ssl_lightning.data.audio.audio_cache import decode_folder
from ssl_lightning.data.audio.dataset import AudioDataset
from ssl_lightning.data.cache import cache_folder
from ssl_lightning.data.decoded import report_corrupt
from ssl_lightning.data.folder import find_files, label_files, list_files
from ssl_lightning.data.splits import digests_of, held_out, require_split, resolve_size
from ssl_lightning.errors import InputError, first_line
from ssl_lightning.ranges import PositiveInt, Seed, Size

EXTENSIONS = {".wav", ".flac", ".ogg", ".mp3"}
SPLITS = {"train": 0, "test": 1, "val": 2, "valid": 2, "validation": 2, "dev": 2}
"""What a table may call a split: training, test or validation."""
list_recordings = partial(list_files, extensions=EXTENSIONS, kind="sound")


def audio_folder(
    root: str,
    split: str,
    length: PositiveInt,
    sample_rate: PositiveInt,
    folder: str = "",
    table: str | None = None,
    cache: str | None = None,
    on_corrupt: Literal["skip", "raise"] = "skip",
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
    found = _in_table(home, table) if table else _in_folders(home, split)
    if found.test is None and (table or not (home / "train").is_dir()):
        count = resolve_size(test_size, len(found.files), "data.source.test_size")
        digests = digests_of(found.files) if found.speakers is None else None
        found.test = held_out(len(found.files), count, seed, found.labels, found.speakers, digests)
    return found.clips(split, length, sample_rate, cache, on_corrupt)


@dataclass
class Recordings:
    """Files below `place`, and what is known of each: numbers of its label (of `classes`) and of its speaker, (N,).

    `test` and `validation`: (N,) bool, or None: all files are of the split that is wanted, nothing is for validation.
    """

    place: Path
    files: list[str]
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    speakers: np.ndarray | None = None
    test: np.ndarray | None = None
    validation: np.ndarray | None = None

    def clips(
        self,
        split: str,
        length: int,
        sample_rate: int,
        cache: str | None,
        on_corrupt: Literal["skip", "raise"],
    ) -> AudioDataset:
        """The clips of one split; all files are decoded, so that the splits share one cache.

        Raises:
            InputError: there are none, or `on_corrupt` is "raise" and a file cannot be read.
        """
        samples, offsets, corrupt = decode_folder(self.place, self.files, sample_rate, cache_folder(cache))
        report_corrupt(corrupt, self.place, self.files, on_corrupt, "sound")
        good = np.ones(len(self.files), dtype=bool) if self.test is None else self.test == (split == "test")
        good[list(corrupt)] = False
        if not good.any():
            raise InputError(f"{self.place.resolve()} has no recording for the {split} split")
        known = {"labels": self.labels, "classes": self.classes, "groups": self.speakers}
        if self.validation is not None and (self.validation & good).any():
            known["validation"] = self.validation
        return AudioDataset(samples, offsets, length, **known).of_documents(good)


def numbered(names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The number of each name (N,) among all that occur, and these, sorted."""
    known, numbers = np.unique(names, return_inverse=True)
    return numbers, known.tolist()


def _in_folders(home: Path, split: str) -> Recordings:
    found = find_files(home, split, EXTENSIONS, "sound")
    return Recordings(found.place, found.files, *label_files(found.files, found.training, found.place))


def _in_table(home: Path, table: str) -> Recordings:
    try:
        with (home / table).open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{home / table} cannot be read as a table ({first_line(error)})") from error
    columns = {name: [row.get(name) or "" for row in rows] for name in (rows[0] if rows else ()) if name}
    for name in {"path", "label", "speaker", "split"} & columns.keys():
        if "" in columns[name]:
            raise InputError(f"{home / table}, line {columns[name].index('') + 2}, has nothing in its column {name}")
    if "path" not in columns:
        raise InputError(f"{home / table} needs a column path, and may have label, speaker and split")
    found = Recordings(home, columns["path"])
    if "label" in columns:
        found.labels, found.classes = numbered(columns["label"])
    if "speaker" in columns:
        found.speakers, _ = numbered(columns["speaker"])
    if "split" in columns:
        if unknown := set(columns["split"]) - SPLITS.keys():
            raise InputError(f"{home / table} has a split {min(unknown)!r}: choose one of {', '.join(SPLITS)}")
        number = np.array([SPLITS[name] for name in columns["split"]])
        found.test, found.validation = number == 1, number == 2
    return found
