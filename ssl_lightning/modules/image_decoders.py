"""Decoders: from an embedding (B, D) back to images (B, C, S, S)."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.heads import mlp
from ssl_lightning.ranges import PositiveInt

_LARGEST_START = 8


def mlp_decoder(in_dim: int, channels: int, size: int, hidden_dims: Sequence[PositiveInt] = (128,)) -> nn.Sequential:
    """The mirror image of `backbones.image.MLP`: linear layers with ReLU, (B, in_dim) -> (B, channels, size, size).

    Args:
        hidden_dims: widths of the hidden layers, the one next to the code first.
    """
    layers = mlp(in_dim, *hidden_dims, channels * size**2, norm=False)
    return nn.Sequential(*layers, nn.Unflatten(1, (channels, size, size)))


def conv_decoder(in_dim: int, channels: int, size: int, width: PositiveInt = 32) -> nn.Sequential:
    """A linear layer to a small map, then transposed convolutions that double its side: (B, in_dim) -> images.

    Kernels of 4 at stride 2 cover every pixel equally often, which avoids checkerboards (Odena et al. 2016,
    https://distill.pub/2016/deconv-checkerboard). Without normalization an image depends on its embedding alone.

    Args:
        size: S, side of the images. The first map has the side S, halved until it is at most 8 (28: 7, 32: 8).
        width: channels before the last layer; each halving of the side doubles them, up to 8 times.

    Raises:
        InputError: the side cannot be halved that often.
    """
    halvings = max(0, math.ceil(math.log2(size / _LARGEST_START)))
    if size % 2**halvings:
        raise InputError(
            f"data.image_size={size} cannot be halved down to {_LARGEST_START} or less, which decoder=conv needs;"
            " take a multiple of a power of 2 (28, 32, 96, 224), or decoder=mlp"
        )
    side, widths = size // 2**halvings, [width * min(2**stage, 8) for stage in range(halvings, -1, -1)]
    layers: list[nn.Module] = [
        nn.Linear(in_dim, widths[0] * side**2),
        nn.ReLU(inplace=True),
        nn.Unflatten(1, (widths[0], side, side)),
    ]
    for a, b in pairwise(widths):
        layers += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))
