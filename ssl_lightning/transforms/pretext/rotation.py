"""The task of RotNet (Gidaris et al. 2018, https://arxiv.org/abs/1803.07728): images turned by quarters of a circle."""

from collections.abc import Sequence

import torch

from ssl_lightning.errors import InputError
from ssl_lightning.transforms.views import Batch, Chain, MultiView

QUARTERS = 4


class Rotations(MultiView):
    """Makes `inputs` (4B, C, S, S), each image at 0, 90, 180 and 270 degrees in a row, and `quarters` (4B,) in 0..3.

    All four copies of an image are in the batch, which the paper found much better than one at random (Sec. 3.1). They
    are turned anticlockwise, without interpolation, so that no trace of resampling tells the angle (Sec. 2.2).

    Args:
        augment: is applied once to an image, before it is turned; must end in squares.
        mean: per channel, of images in [0, 1]; as `std`.
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
