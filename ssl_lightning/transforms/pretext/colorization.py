"""Lightness in, colors out: the task of Zhang, Isola and Efros, 2016, https://arxiv.org/abs/1603.08511."""

import torch

from ssl_lightning.color import rgb_to_lab, scaled_lightness
from ssl_lightning.transforms.views import Batch, Chain, MultiView


class SplitColors(MultiView):
    """Adds `inputs` (B, 1, S, S), the lightness scaled to [-1, 1], and `ab` (B, 2, S, S), a and b of CIE Lab.

    Args:
        augment: applied to the RGB image before the split.
    """

    produces = ("inputs", "ab")
    channels = 3

    def __init__(self, augment: Chain) -> None:
        super().__init__({"color": augment}, [0.0] * 3, [1.0] * 3)

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        lab = rgb_to_lab(super().forward(batch, generator)["views"][0])
        return {**batch, "inputs": scaled_lightness(lab), "ab": lab[:, 1:]}
