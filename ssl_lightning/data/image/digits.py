"""The data set that is always there: scikit-learn's handwritten digits, drawn again at random places.

The 1,797 real 8x8 digits are those of the test part of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten
Digits" (1998), https://archive.ics.uci.edu/dataset/80. Each is drawn several times on a larger canvas at a random
place, scale and angle: raw pixels then tell little about the class, and learning shows.
"""

import numpy as np
import torch
from torch.nn import functional as F

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.sampler import mix
from ssl_lightning.data.splits import held_out, require_split
from ssl_lightning.ranges import PositiveInt

TEST_DIGITS = 297  # of 1,797; 1,500 remain to train on
SCALE = (0.45, 0.75)  # side of the 8x8 image as a part of the canvas; 20-NN on raw pixels then gets 79 % right
ANGLE = 25.0  # degrees, either way
CLASSES = [str(digit) for digit in range(10)]


def digits(root: str = "", split: str = "pretrain", copies: PositiveInt = 8, size: PositiveInt = 28) -> ImageDataset:
    """Split "pretrain" and "train" (12,000 images, the same) or "test" (2,376), (N, 1, size, size), ten classes.

    The test images are drawn from digits of which no copy is in the training set. `root` is not used: nothing is
    read from the data folder. `groups` number the original digits.
    """
    images, labels, numbers = _originals(split)
    chosen = np.repeat(np.arange(len(images)), copies)
    generator = torch.Generator().manual_seed(mix("digits", "test" if split == "test" else "train"))
    drawn = draw(torch.from_numpy(images[chosen] / 16).float(), size, generator)
    return ImageDataset(drawn, labels[chosen], CLASSES, groups=numbers[chosen])


def digit_glyphs(root: str = "", split: str = "pretrain") -> ImageDataset:
    """The original digits themselves, (N, 1, 8, 8): 1,500 to train on or 297 to test on; `root` is not used."""
    images, labels, numbers = _originals(split)
    return ImageDataset((images / 16 * 255).round().astype(np.uint8), labels, CLASSES, groups=numbers)


def _originals(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (N, 1, 8, 8) from 0 to 16, labels (N,) and numbers (N,) in scikit-learn's set of one split."""
    from sklearn.datasets import load_digits

    require_split(split, "digits")
    source = load_digits()
    test = held_out(len(source.target), TEST_DIGITS, seed=0, labels=source.target)
    chosen = np.flatnonzero(test if split == "test" else ~test)
    return source.images[chosen, None], source.target[chosen], chosen


def draw(glyphs: torch.Tensor, size: PositiveInt, generator: torch.Generator) -> torch.Tensor:
    """Glyphs (N, 1, h, w) in [0, 1] on black canvases (N, 1, size, size) uint8, wholly inside before the rotation."""
    unit = torch.rand(4, len(glyphs), generator=generator)
    scale = SCALE[0] + (SCALE[1] - SCALE[0]) * unit[0]
    angle = torch.deg2rad(ANGLE * (2 * unit[1] - 1))
    center = (2 * unit[2:] - 1) * (1 - scale)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    # affine_grid wants canvas -> glyph coordinates: undo the shift, then the rotation and the scale
    linear = torch.stack([cos, sin, -sin, cos], dim=1).view(-1, 2, 2)
    shift = -(linear @ center.T.unsqueeze(2))
    grid = F.affine_grid(torch.cat([linear, shift], dim=2), [len(glyphs), 1, size, size], align_corners=False)
    drawn = F.grid_sample(glyphs, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (drawn * 255).round().clamp(0, 255).to(torch.uint8)
