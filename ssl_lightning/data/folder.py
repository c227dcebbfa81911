"""Files of a folder: found, and labeled and split by the folders that they lie in."""

import os
import re
import warnings
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_lightning.data.splits import digests_of, held_out, resolve_size
from ssl_lightning.errors import InputError, InputWarning


@dataclass
class Files:
    """Files below `place`, and what is known of each: numbers of its label (of `classes`) and of its group, (N,).

    `test` and `validation`: (N,) bool, or None: all files are of the split that is wanted, nothing is for validation.
    """

    place: Path
    files: list[str]
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    groups: np.ndarray | None = None
    test: np.ndarray | None = None
    validation: np.ndarray | None = None

    def hold_out(self, size: int | float, seed: int) -> None:
        """Draws `size` files (count or fraction) for the test set, by label, and whole groups where they are known."""
        count = resolve_size(size, len(self.files), "data.source.test_size")
        digests = digests_of(self.files) if self.groups is None else None
        self.test = held_out(len(self.files), count, seed, self.labels, self.groups, digests)

    def of_split(self, split: str) -> np.ndarray:
        """(N,) bool: which files are of a split."""
        return np.ones(len(self.files), dtype=bool) if self.test is None else self.test == (split == "test")


def find_files(home: Path, split: str, extensions: Set[str], kind: str) -> tuple[Path, list[str], list[str]]:
    """A folder, the files of a split in it, and those of training, to tell the classes; relative to their folders.

    The folder is `home/train` or, for "test", `home/test` or `home/val`; it is `home`, with all files, still to be
    split, where that has no `train`. `extensions`, in lower case, are those of files of this `kind`, as messages call
    it.

    Raises:
        InputError: the folder or that of the split is missing, unreadable or empty.
    """
    if not (home / "train").is_dir():
        files = list_files(home, extensions, kind)
        return home, files, files
    training = list_files(home / "train", extensions, kind)
    if split != "test":
        return home / "train", training, training
    for place in (home / "test", home / "val"):
        if place.is_dir():
            return place, list_files(place, extensions, kind), training
    raise InputError(f"{home.resolve()} has a folder train but neither test nor val beside it")


def list_files(folder: Path, extensions: Set[str], kind: str) -> list[str]:
    """Sorted paths, relative to `folder`, of the files at any depth; links to folders are followed once.

    Raises:
        InputError: the folder is missing, unreadable or empty, or a file of it is none.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(
            f"{folder.resolve()} {what}: data.root and data.source.folder must lead to a folder of {kind} files"
        )
    files: list[str] = []
    seen: set[str] = set()
    above = len(os.path.join(folder, ""))

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror})")

    for place, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(place, name)
            if name.startswith(".") or not name.lower().endswith(tuple(extensions)):
                continue
            if os.path.exists(path) and not os.path.isfile(path):
                raise InputError(f"{path} is a pipe or a device, which may never end; remove it")
            files.append(path[above:])
    if not files:
        raise InputError(f"{folder.resolve()} holds no {kind}: looked for {' '.join(sorted(extensions))} at any depth")
    return sorted(files)


def files_at(given: str, extensions: Set[str], kind: str) -> list[Path]:
    """The file itself, or those of a folder; numbers in their names are ordered as numbers.

    Raises:
        InputError: nothing is there, or a folder without such files.
    """
    place = Path(given).expanduser()
    if place.is_dir():
        return [place / name for name in sorted(list_files(place, extensions, kind), key=natural)]
    if not place.exists():
        raise InputError(f"there is no {kind} and no folder at {place}")
    return [place]


def natural(path: str) -> tuple[str, list[str | int]]:
    """Sorts by folder, then by name with its numbers as numbers: frame_9 before frame_10."""
    folder, name = os.path.split(path)
    return folder, [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]


def label_files(
    files: Sequence[str], training: Sequence[str], place: Path
) -> tuple[np.ndarray | None, list[str] | None]:
    """Labels (N,) of paths below `place` by their first folder, and the names of the classes.

    These are the first folders of `training`; one alone, or loose files beside them, count as none.
    """
    known = [path.split(os.sep)[0] if os.sep in path else "" for path in training]
    classes = sorted(set(known))
    if len(classes) > 2 and "" in classes:
        line = f"{known.count('')} files lie beside class folders, so all are taken as unlabeled"
        warnings.warn(line, InputWarning, stacklevel=3)
    if len(classes) < 2 or "" in classes:
        return None, None
    tops = [path.split(os.sep)[0] for path in files]
    if unknown := sorted(set(tops) - set(classes)):
        raise InputError(f"{(place / unknown[0]).resolve()} is not one of the {len(classes)} classes of train")
    return np.searchsorted(classes, tops), classes
