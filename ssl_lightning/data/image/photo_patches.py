"""Color images that are always there: patches of scikit-learn's two sample photographs.

china.jpg is by danielbuechele and flower.jpg by vultilion, on flickr.com, both under CC BY 2.0.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.splits import held_out, require_split

BLOCK = 61
"""Side in pixels of the blocks that a photograph (427 x 640) is cut into: 7 rows of 10, and some pixels are left."""
STEP = 4
"""Pixels from one patch to the next inside its block."""
TEST_BLOCKS = 28  # of 140, half of them of each photograph


def photo_patches(
    root: str = "", split: str = "pretrain", size: Annotated[int, Interval(ge=1, le=BLOCK)] = 32
) -> ImageDataset:
    """Split "pretrain" and "train" (7,168 images, the same) or "test" (1,792), (N, 3, size, size), two classes.

    The class is the photograph. A patch lies wholly in one block, and blocks do not overlap: those of the test set are
    in none of the training patches. `groups` number the blocks, so that validation images have their own, too.
    `root` is not used: nothing is read from the data folder.
    """
    from sklearn.datasets import load_sample_images

    require_split(split, "photo_patches")
    found = load_sample_images()
    names, photos = [Path(name).stem for name in found.filenames], np.stack(found.images)[:, :, : 10 * BLOCK]
    blocks = photos.reshape(2, 7, BLOCK, 10, BLOCK, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3, BLOCK, BLOCK)
    labels = np.repeat([0, 1], len(blocks) // 2)
    test = held_out(len(blocks), TEST_BLOCKS, seed=0, labels=labels)
    chosen = np.flatnonzero(test if split == "test" else ~test)
    patches = np.lib.stride_tricks.sliding_window_view(blocks[chosen], (size, size), axis=(2, 3))[:, :, ::STEP, ::STEP]
    places = patches.shape[2] * patches.shape[3]
    images = np.ascontiguousarray(patches.transpose(0, 2, 3, 1, 4, 5)).reshape(-1, 3, size, size)
    return ImageDataset(images, np.repeat(labels[chosen], places), names, groups=np.repeat(chosen, places))
