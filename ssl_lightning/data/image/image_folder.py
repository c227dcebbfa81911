"""Any folder of image files as an array."""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from ssl_lightning.data.cache import cache_folder
from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.decoded import report_corrupt
from ssl_lightning.data.folder import find_files, label_files, list_files
from ssl_lightning.data.image.image_cache import decode_folder
from ssl_lightning.data.splits import digests_of, held_out, require_split, resolve_size
from ssl_lightning.ranges import PositiveInt, Seed, Size

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
find_images = partial(find_files, extensions=EXTENSIONS, kind="image")
list_images = partial(list_files, extensions=EXTENSIONS, kind="image")


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
    report_corrupt(store.corrupt, found.place, found.files, on_corrupt, "image")
    good = np.ones(len(found.files), dtype=bool)
    good[list(store.corrupt)] = False
    if not found.official:
        count = resolve_size(test_size, len(found.files), "data.source.test_size")
        test = held_out(len(found.files), count, seed, labels, digests=digests_of(found.files))
        good &= test if split == "test" else ~test
    return ImageDataset(store.images, labels, classes).subset(np.flatnonzero(good))
