"""Any folder of image files as an array."""

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ssl_lightning.data.cache import cache_folder
from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.image.image_cache import DecodedFolder, decode_folder
from ssl_lightning.data.splits import digests_of, held_out, require_split, resolve_size
from ssl_lightning.errors import InputError, InputWarning
from ssl_lightning.ranges import PositiveInt, Seed, Size

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
NAMED = 10  # corrupt files named in a message, before "and N more"


def image_folder(
    root: str,
    split: str,
    folder: str = "",
    store_size: PositiveInt = 256,
    channels: Literal[1, 3] = 3,
    cache: str | None = None,
    on_corrupt: Literal["skip", "raise"] = "skip",
    test_size: Size = 0.2,
    seed: Seed = 0,
) -> ImageDataset:
    """Split "pretrain", "train" (the same) or "test" of `root/folder`, (N, channels, store_size, store_size).

    Layouts, found by looking:

    - `train/<class>/...` and `test/<class>/...` (or `val/`, as in ImageNet): taken as they are;
    - `<class>/...`: `test_size` (count or fraction) is held out of it, by class, fixed by `seed` and the paths;
    - `train/...` without class folders, or loose images: no labels. One class folder alone counts as none.

    Folders below a class are part of it. Hidden files and other extensions are not looked at. The images are decoded
    once, see `image_cache`; `cache` defaults to `$SSL_CACHE` or `~/.cache/ssl-lightning`. A file that cannot be
    read is left out with a warning that names it (`on_corrupt="skip"`) or refused (`"raise"`).

    Raises:
        InputError: the folder is missing, unreadable or empty.
    """
    require_split(split, "an image folder")
    found = find_images(Path(root).expanduser() / folder, split)
    labels, classes = label_files(found.files, found.training, found.place)
    store = decode_folder(found.place, found.files, store_size, channels, cache_folder(cache))
    _report(store, found, on_corrupt)
    good = np.ones(len(found.files), dtype=bool)
    good[list(store.corrupt)] = False
    if not found.official:
        count = resolve_size(test_size, len(found.files), "data.source.test_size")
        test = held_out(len(found.files), count, seed, labels, digests=digests_of(found.files))
        good &= test if split == "test" else ~test
    return ImageDataset(store.images, labels, classes).subset(np.flatnonzero(good))


@dataclass(frozen=True)
class Found:
    """Image files of a split, relative to `place`, and those of training; not `official`: all, still to be split."""

    place: Path
    files: list[str]
    training: list[str]
    official: bool


def find_images(home: Path, split: str) -> Found:
    """The files of `home/train` or, for "test", of `home/test` or `home/val`; all of `home` where it has no train.

    Raises:
        InputError: the folder or that of the split is missing, unreadable or empty.
    """
    if not home.is_dir():
        what = "is not a folder" if home.exists() else "does not exist"
        raise InputError(f"{home.resolve()} {what}: data.root and data.source.folder must lead to a folder of images")
    if not (home / "train").is_dir():
        files = list_images(home)
        return Found(home, files, files, official=False)
    training = list_images(home / "train")
    if split != "test":
        return Found(home / "train", training, training, official=True)
    for place in (home / "test", home / "val"):
        if place.is_dir():
            return Found(place, list_images(place), training, official=True)
    raise InputError(f"{home.resolve()} has a folder train but neither test nor val beside it")


def list_images(folder: Path) -> list[str]:
    """Sorted paths, relative to `folder`, of the image files at any depth; links to folders are followed once."""
    files, seen = [], set()

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror})")

    for place, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(place, folder)
        for name in names:
            if os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith("."):
                files.append(name if below == "." else os.path.join(below, name))
    if not files:
        raise InputError(f"{folder.resolve()} holds no image: looked for {' '.join(sorted(EXTENSIONS))} at any depth")
    return sorted(files)


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
        line = f"{known.count('')} images lie beside class folders, so all are taken as unlabeled"
        warnings.warn(line, InputWarning, stacklevel=3)
    if len(classes) < 2 or "" in classes:
        return None, None
    tops = [path.split(os.sep)[0] for path in files]
    if unknown := sorted(set(tops) - set(classes)):
        raise InputError(f"{(place / unknown[0]).resolve()} is not one of the {len(classes)} classes of train")
    return np.searchsorted(classes, tops), classes


def _report(store: DecodedFolder, found: Found, on_corrupt: str) -> None:
    if not store.corrupt:
        return
    named = [f"{found.place / found.files[row]} ({reason})" for row, reason in list(store.corrupt.items())[:NAMED]]
    more = f" and {len(store.corrupt) - NAMED} more" if len(store.corrupt) > NAMED else ""
    line = f"{len(store.corrupt)} of {len(found.files)} image files cannot be read: {', '.join(named)}{more}"
    if on_corrupt == "raise" or len(store.corrupt) == len(found.files):
        raise InputError(line)
    warnings.warn(f"left out: {line}", InputWarning, stacklevel=3)
