"""Any folder of image files as an array."""

import os
import warnings
from pathlib import Path

import numpy as np

from ssl_lightning.data.cache import cache_folder
from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.image.image_cache import DecodedFolder, decode_folder
from ssl_lightning.data.splits import held_out, require_split, resolve_size
from ssl_lightning.errors import InputError, InputWarning

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
NAMED = 10  # corrupt files named in a message, before "and N more"


def image_folder(
    root: str,
    split: str,
    folder: str = "",
    store_size: int = 256,
    channels: int = 3,
    cache: str | None = None,
    on_corrupt: str = "skip",
    test_size: int | float = 0.2,
    seed: int = 0,
) -> ImageDataset:
    """Split "pretrain", "train" (the same) or "test" of `root/folder`, (N, channels, store_size, store_size).

    Layouts, found by looking:

    - `train/<class>/...` and `test/<class>/...` (or `val/`, as in ImageNet): taken as they are;
    - `<class>/...`: `test_size` (count or fraction) is held out of it, stratified, fixed by `seed`;
    - `train/...` without class folders, or loose images: no labels. One class folder alone counts as none.

    Folders below a class are part of it. Hidden files and other extensions are not looked at. The images are decoded
    once, see `image_cache`; `cache` defaults to `$SSL_CACHE` or `~/.cache/ssl-lightning`. A file that cannot be
    read is left out with a warning that names it (`on_corrupt="skip"`) or refused (`"raise"`).

    Raises:
        InputError: the folder is missing, unreadable or empty.
    """
    require_split(split, "an image folder")
    if on_corrupt not in ("skip", "raise"):
        raise InputError(f"on_corrupt={on_corrupt!r} is not known: choose skip or raise")
    if channels not in (1, 3):
        raise InputError(f"data.channels={channels} is not possible for image files: choose 1 or 3")
    home = Path(root).expanduser() / folder
    if not home.is_dir():
        what = "is not a folder" if home.exists() else "does not exist"
        raise InputError(f"{home.resolve()} {what}: data.root and the folder's name must lead to a folder of images")
    separate = (home / "train").is_dir()
    place = home
    if separate:
        names = ("test", "val") if split == "test" else ("train",)
        found = [home / name for name in names if (home / name).is_dir()]
        if not found:
            raise InputError(f"{home.resolve()} has a folder train but neither test nor val beside it")
        place = found[0]

    files = list_images(place)
    classes = _classes(list_images(home / "train") if separate and split == "test" else files)
    labels = _labels(files, classes, place)
    store = decode_folder(place, files, store_size, channels, cache_folder(cache))
    _report(store, place, files, on_corrupt)
    images = ImageDataset(store.images, labels, classes)
    good = np.ones(len(files), dtype=bool)
    good[list(store.corrupt)] = False
    if not separate:
        count = resolve_size(test_size, len(files), "test_size")
        test = held_out(len(files), count, seed, labels)
        good &= test if split == "test" else ~test
    return images.subset(np.flatnonzero(good))


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


def _classes(files: list[str]) -> list[str] | None:
    tops = {name.split(os.sep)[0] if os.sep in name else "" for name in files}
    if len(tops) > 2 and "" in tops:
        loose = sum(os.sep not in name for name in files)
        line = f"{loose} images lie beside class folders, so all are taken as unlabeled"
        warnings.warn(line, InputWarning, stacklevel=3)
    return sorted(tops) if len(tops) > 1 and "" not in tops else None


def _labels(files: list[str], classes: list[str] | None, place: Path) -> np.ndarray | None:
    if classes is None:
        return None
    number = {name: label for label, name in enumerate(classes)}
    tops = [name.split(os.sep)[0] for name in files]
    unknown = sorted(set(tops) - set(number))
    if unknown:
        raise InputError(f"{(place / unknown[0]).resolve()} is not one of the {len(classes)} classes of train")
    return np.array([number[top] for top in tops], dtype=np.int64)


def _report(store: DecodedFolder, place: Path, files: list[str], on_corrupt: str) -> None:
    if not store.corrupt:
        return
    named = [f"{place / files[row]} ({reason})" for row, reason in list(store.corrupt.items())[:NAMED]]
    more = f" and {len(store.corrupt) - NAMED} more" if len(store.corrupt) > NAMED else ""
    line = f"{len(store.corrupt)} of {len(files)} image files cannot be read: {', '.join(named)}{more}"
    if on_corrupt == "raise" or len(store.corrupt) == len(files):
        raise InputError(line)
    warnings.warn(f"left out: {line}", InputWarning, stacklevel=3)
