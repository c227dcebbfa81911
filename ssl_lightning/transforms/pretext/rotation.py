"""The task of RotNet (Gidaris et al. 2018, https://arxiv.org/abs/1803.07728): rotations by multiples of 90 degrees."""

from collections.abc import Sequence

import torch

from ssl_lightning.errors import InputError
from ssl_lightning.transforms.views import Batch, Chain, MultiView

QUARTERS = 4


class Rotations(MultiView):
    """Adds `inputs` (4B, C, S, S), each image at 0, 90, 180 and 270 degrees, and `quarters` (4B,) in 0..3.

    The four copies of an image follow each other in one batch, which the paper found much better than one random
    rotation (Sec. 3.1). Rotations are counterclockwise and exact, so no resampling artifact reveals the angle (Sec.
    2.2).

    Args:
        augment: applied to the image once, before the rotation; must return squares.
        mean: per channel, of images in [0, 1].
        std: likewise.
    """

    produces = ("inputs", "quarters")

    def __init__(self, augment: Chain, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__({"upright": augment}, mean, std)

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        upright = super().forward(batch, generator)["views"][0]
        B, _, H, W = upright.shape
        if H != W:
            raise InputError(f"rotations need square images, got {H} x {W}: let transform.augment crop to a square")
        turned = torch.stack([upright.rot90(quarters, (2, 3)) for quarters in range(QUARTERS)], dim=1)
        targets = torch.arange(QUARTERS, device=upright.device).repeat(B)
        return {**batch, "inputs": turned.flatten(0, 1), "quarters": targets}
