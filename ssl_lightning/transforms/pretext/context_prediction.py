"""Pairs of neighboring patches: the task of Doersch, Gupta and Efros, 2015, https://arxiv.org/abs/1505.05192."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.ranges import AtLeastTwo, Fraction, NonNegativeInt
from ssl_lightning.transforms.functional import cut, random_integers
from ssl_lightning.transforms.views import Batch, Chain, MultiView

PLACES, MIDDLE = 8, 4
"""Sides of the middle patch, and its own place, counted along the rows of the 3 x 3 patches."""
NOISE = 0.01
"""Standard deviation of the noise in dropped channels, divided by that of the kept channel (Sec. 3.1)."""


class PatchPairs(MultiView):
    """Adds `inputs` (B, 2, C, p, p), a patch and one of its 8 neighbors, and `side` (B,), which neighbor it is.

    Sides are numbered row by row over the 3 x 3 grid, without the center. The first patch lies where all eight
    neighbors would fit, so its position does not reveal the side. Deviation: the paper takes patches from a fixed grid
    of a large image.

    Args:
        augment: applied to the image before patches are cut out.
        patch: p, side of a patch in pixels.
        gap: pixels between patches, so that lines do not continue across them (about half a patch in the paper).
        jitter: the second patch moves by up to this many pixels along both axes.
        drop_colors: probability that a patch keeps only one color channel, against chromatic aberration. Deviation: the
            paper does this to all patches. Here some keep their colors, like the images that are embedded later.
        mean: per channel, of images in [0, 1].
        std: likewise.
    """

    produces = ("inputs", "side")

    def __init__(
        self,
        augment: Chain,
        patch: AtLeastTwo,
        gap: NonNegativeInt,
        jitter: NonNegativeInt,
        drop_colors: Fraction,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__({"whole": augment}, mean, std)
        self.patch, self.gap, self.jitter = patch, gap, jitter
        self.drop_colors = drop_colors

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        images = super().forward(batch, generator)["views"][0]
        B, C = images.shape[:2]
        targets = random_integers(PLACES, (B,), generator)
        patches = cut(images, *self._corners(images, targets, generator), self.patch)
        if C > 1:
            patches = self._drop_some(patches, generator)
        return {**batch, "inputs": patches, "side": targets}

    def _corners(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Top and left corners of both patches, (B, 2, 1) each."""
        B, _, H, W = images.shape
        margin = self.patch + self.gap + self.jitter
        rooms = H - 2 * margin - self.patch + 1, W - 2 * margin - self.patch + 1
        if min(rooms) < 1:
            raise InputError(
                f"3 patches in a row do not fit images of {H} x {W}: lower transform.patch={self.patch},"
                f" transform.gap={self.gap} or transform.jitter={self.jitter}"
            )
        place = targets + (targets >= MIDDLE)  # 0..8 except the middle
        ends = []
        for room, side in zip(rooms, (place // 3 - 1, place % 3 - 1), strict=True):
            first = margin + random_integers(room, (B,), generator)
            moved = random_integers(2 * self.jitter + 1, (B,), generator) - self.jitter
            ends.append(torch.stack([first, first + side * (self.patch + self.gap) + moved], dim=1)[:, :, None])
        return ends[0], ends[1]

    def _drop_some(self, patches: Tensor, generator: torch.Generator) -> Tensor:
        B, N, C = patches.shape[:3]
        kept = random_integers(C, (B, N), generator)
        whole = torch.rand(B, N, generator=generator, device=generator.device) >= self.drop_colors
        noise = torch.randn(patches.shape, generator=generator, device=generator.device)
        return torch.where(whole[:, :, None, None, None], patches, keep_channel(patches, kept, noise))


def keep_channel(patches: Tensor, kept: Tensor, noise: Tensor) -> Tensor:
    """Replaces all channels of patches (..., C, h, w) except `kept` (...) by weak noise around 0.

    `noise`: (..., C, h, w), standard normal; scaled to `NOISE` times the standard deviation of the kept channel.
    """
    spread = patches.std(dim=(-2, -1)).gather(-1, kept[..., None])[..., None, None]
    stays = torch.arange(patches.shape[-3], device=patches.device) == kept[..., None]
    return torch.where(stays[..., None, None], patches, NOISE * spread * noise)
