"""Corruptions for denoising autoencoders: the three of Vincent et al. 2010, Sec. 3.3 and 5.1.

https://jmlr.org/papers/v11/vincent10a.html. Images are float in [0, 1]. Masking and salt-and-pepper noise corrupt all
channels of a pixel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_lightning.ranges import Fraction, NonNegativeFloat, PositiveInt
from ssl_lightning.transforms.ops import Op, Params, Shape


@dataclass(eq=False, repr=False)
class GaussianNoise(Op):
    """Adds Gaussian noise of standard deviation `std` to every value, without clamping to [0, 1]."""

    std: NonNegativeFloat

    def draw(self, shape: Shape, generator: torch.Generator) -> Params:
        return {"noise": torch.randn(shape, generator=generator, device=generator.device).mul_(self.std)}

    def transform(self, images: Tensor, params: Params) -> Tensor:
        return images + params["noise"]


@dataclass(eq=False, repr=False)
class MaskingNoise(Op):
    """Sets a fixed number of cells of each image to 0 (masking noise: Vincent et al. 2008, Sec. 2.3).

    Args:
        fraction: of all cells, rounded to a whole number of them.
        cell: side of a cell in pixels (1 in the paper); cells are cut off at the right and lower border.
    """

    fraction: Fraction
    cell: PositiveInt = 1

    def draw(self, shape: Shape, generator: torch.Generator) -> Params:
        B, _, H, W = shape
        rows, columns = -(-H // self.cell), -(-W // self.cell)
        drawn = torch.rand((B, rows * columns), generator=generator, device=generator.device)
        chosen = drawn.argsort(dim=1)[:, : round(self.fraction * rows * columns)]
        blank = torch.zeros_like(drawn, dtype=torch.bool).scatter_(1, chosen, True).view(B, 1, rows, columns)
        return {"blank": blank.repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)[..., :H, :W]}

    def transform(self, images: Tensor, params: Params) -> Tensor:
        return images.masked_fill(params["blank"], 0)


@dataclass(eq=False, repr=False)
class SaltAndPepper(Op):
    """Sets each pixel to 0 or 1 with probability `fraction`, both equally likely."""

    fraction: Fraction

    def draw(self, shape: Shape, generator: torch.Generator) -> Params:
        B, _, H, W = shape
        drawn = torch.rand((B, 1, H, W), generator=generator, device=generator.device)
        return {"pepper": drawn < self.fraction / 2, "salt": drawn >= 1 - self.fraction / 2}

    def transform(self, images: Tensor, params: Params) -> Tensor:
        return images.masked_fill(params["pepper"], 0).masked_fill_(params["salt"], 1)
