"""Any folder of image files as an array."""

from pathlib import Path
from typing import Literal

import numpy as np

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.decoded import OnCorrupt, readable
from ssl_lightning.data.folder import Files, find_files, label_files
from ssl_lightning.data.image.decode import decode_images
from ssl_lightning.data.splits import require_split
from ssl_lightning.ranges import PositiveInt, Seed, Size

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def image_folder(
    root: str,
    split: str,
    folder: str = "",
    store_size: PositiveInt = 256,
    channels: Literal[1, 3] = 3,
    cache: str | None = None,
    on_corrupt: OnCorrupt = "skip",
    test_size: Size = 0.2,
    seed: Seed = 0,
) -> ImageDataset:
    """Split "pretrain", "train" (the same) or "test" of `root/folder`, (N, channels, store_size, store_size).

    Layouts, found by looking:

    - `train/<class>/...` and `test/<class>/...` (or `val/`, as in ImageNet): taken as they are;
    - `<class>/...`: `test_size` (count or fraction) is held out of it, by class, fixed by `seed` and the paths;
    - `train/...` without class folders, or loose images: no labels. One class folder alone counts as none.

    Folders below a class are part of it. Hidden files and other extensions are not looked at. The images are decoded
    once, see `decode_files`; `cache` defaults to `$SSL_CACHE` or `~/.cache/ssl-lightning`. A file that cannot be
    read is left out with a warning that names it (`on_corrupt="skip"`) or refused (`"raise"`).

    Raises:
        InputError: the folder is missing, unreadable or empty.
    """
    require_split(split, "an image folder")
    home = Path(root).expanduser() / folder
    place, files, training = find_files(home, split, EXTENSIONS, "image")
    found = Files(place, files, *label_files(files, training, place))
    if place == home:
        found.hold_out(test_size, seed)
    images, corrupt = decode_images(place, files, store_size, channels, cache)
    good = readable(place, files, corrupt, on_corrupt) & found.of_split(split)
    return ImageDataset(images, found.labels, found.classes).subset(np.flatnonzero(good))
