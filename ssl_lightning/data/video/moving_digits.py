"""Moving-MNIST, drawn when it is asked for: digits that fly straight on and bounce off the walls.

Srivastava, Mansimov and Salakhutdinov 2015, "Unsupervised Learning of Video Representations using LSTMs",
https://arxiv.org/abs/1502.04681, Sec. 3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.sampler import mix
from ssl_lightning.data.video.dataset import VideoDataset
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import NonNegativeSpan, PositiveInt, Seed


def moving_digits(
    root: str,
    split: str,
    glyphs: Callable[..., ImageDataset],
    frames: PositiveInt = 20,
    size: PositiveInt = 64,
    glyph_size: PositiveInt = 28,
    digits: PositiveInt = 2,
    speed: NonNegativeSpan = (0.05, 0.15),
    copies: PositiveInt = 1,
    seed: Seed = 0,
) -> VideoDataset:
    """`copies` clips (frames, 1, size, size) for each digit of a split of `glyphs`, as in the paper by default.

    The first digit of a clip takes its turn, the others are drawn from the same split. All fly in a direction of their
    own, at a `speed` drawn between two fractions of the room that they have, per frame. The label is that of the
    digits without their order: one of 10 for a single digit, of 55 for two. `groups` are the first digits. Training
    and test clips share no digit; of two training clips, in other groups, the second digits may be the same.

    `glyphs(root=, split=)`: square gray digits, scaled to `glyph_size`. `seed` is that of the clips alone, so
    that runs of all seeds share them.
    """
    if glyph_size > size:
        raise InputError(f"data.source.glyph_size={glyph_size} is larger than data.image_size={size}")
    low, high = speed
    source = glyphs(root=root, split=split)
    if source.images.shape[1] != 1 or source.labels is None or source.classes is None:
        raise InputError("moving digits need gray images with labels as data.source.glyphs")
    count = len(source)
    total = count * copies
    generator = torch.Generator().manual_seed(mix("moving digits", "test" if split == "test" else "train", seed))
    which = torch.randint(count, (total, digits), generator=generator)
    which[:, 0] = torch.arange(total) % count
    turn, length = torch.rand(2, total, digits, generator=generator, dtype=torch.float64)
    velocity = torch.stack([(2 * torch.pi * turn).sin(), (2 * torch.pi * turn).cos()], dim=2)
    velocity *= (low + (high - low) * length)[:, :, None]
    start = torch.rand(total, digits, 2, generator=generator, dtype=torch.float64)
    images = F.interpolate(
        torch.from_numpy(source.images).float(), size=(glyph_size, glyph_size), mode="bilinear", antialias=True
    )
    labels, classes = _sets_of(source.labels[which.numpy()], source.classes)
    draw = Bouncing(images[:, 0].clamp(0, 255), which, start, velocity, frames, size)
    groups = np.asarray(which[:, 0] if source.groups is None else source.groups[which[:, 0].numpy()])
    return VideoDataset(draw, total, labels=labels, classes=classes, groups=groups)


@dataclass(frozen=True)
class Bouncing:
    """Draws clips of M glyphs that fly and bounce.

    `glyphs`: (M, h, h) from 0 to 255. Of N clips with n digits each `which` (N, n) are their glyphs, `start`
    (N, n, 2) their first places, down and right, from 0 to 1 (the whole room), and `velocity` (N, n, 2) their way
    from frame to frame in the same unit.
    """

    glyphs: Tensor
    which: Tensor
    start: Tensor
    velocity: Tensor
    frames: PositiveInt
    size: PositiveInt

    def corners(self, rows: Tensor) -> Tensor:
        """Place of the upper left corner of each digit in pixels, (B, n, T, 2): bouncing is a triangle wave."""
        time = torch.arange(self.frames)[:, None]
        flown = self.start[rows][:, :, None] + self.velocity[rows][:, :, None] * time
        return (1 - (flown.remainder(2) - 1).abs()) * (self.size - self.glyphs.shape[1])

    def __call__(self, rows: Tensor) -> Tensor:
        """(B,) -> (B, T, 1, size, size) uint8; where digits overlap, the brighter one is seen.

        A digit lies between whole pixels and is interpolated bilinearly, so that it moves evenly on small canvases
        too (the authors' code rounds): one matrix product for its rows, one for its columns.
        """
        offset = torch.arange(self.size)[:, None] - torch.arange(self.glyphs.shape[1])  # (size, h)
        corners = self.corners(rows)
        down, right = (
            (offset - corners[..., axis, None, None]).abs_().neg_().add_(1).clamp_(min=0).float() for axis in (0, 1)
        )  # (B, n, T, size, h), at most two numbers of a row are not 0
        drawn = down @ self.glyphs[self.which[rows]][:, :, None] @ right.transpose(3, 4)
        return drawn.amax(dim=1).round_().to(torch.uint8).unsqueeze(2)


def _sets_of(labels: np.ndarray, classes: list[str]) -> tuple[np.ndarray, list[str]]:
    """The number and the name of each unordered set of labels (N, n)."""
    sets = np.array(list(combinations_with_replacement(range(len(classes)), labels.shape[1])))
    place = len(classes) ** np.arange(labels.shape[1])[::-1]
    return np.searchsorted(sets @ place, np.sort(labels, axis=1) @ place), [
        "+".join(classes[label] for label in one) for one in sets
    ]
