"""Images as sequences of square patches, row by row, and back."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def patchify(x: Tensor, size: int) -> Tensor:
    """(B, C, S, S) -> (B, N, C * size * size); S must be a multiple of `size`."""
    return F.pixel_unshuffle(x, size).flatten(2).mT


def unpatchify(patches: Tensor, channels: int) -> Tensor:
    """(B, N, C * size * size) -> (B, C, S, S); N must be a square number."""
    grid, size = math.isqrt(patches.shape[1]), math.isqrt(patches.shape[2] // channels)
    return F.pixel_shuffle(patches.mT.unflatten(2, (grid, grid)), size)


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """tokens (B, N, D), indices (B, M) -> (B, M, D): the tokens at `indices`, in that order."""
    return tokens.gather(1, indices[:, :, None].expand(-1, -1, tokens.shape[2]))


def scatter_tokens(tokens: Tensor, indices: Tensor, values: Tensor) -> Tensor:
    """A copy of tokens (B, N, D) with `values` (B, M, D) at `indices` (B, M)."""
    return tokens.scatter(1, indices[:, :, None].expand(-1, -1, tokens.shape[2]), values)


def painted_over(x: Tensor, size: int, masked: Tensor, painted: Tensor) -> dict[str, Tensor]:
    """What a masked autoencoder does to images (B, C, S, S): `image`, `masked` and `reconstruction`.

    Patches at `masked` (B, N) bool are hidden by the mean color, and then replaced by those of `painted` (B, N, P).
    """
    patches, hidden, C = patchify(x, size), masked[:, :, None], x.shape[1]
    whole = torch.where(hidden, painted.to(patches.dtype), patches)
    return {"image": x, "masked": unpatchify(patches.masked_fill(hidden, 0), C), "reconstruction": unpatchify(whole, C)}


def replace_tokens(tokens: Tensor, masked: Tensor, token: Tensor) -> Tensor:
    """tokens (B, N, D) with `token` (D,) where `masked` (B, N) is True."""
    return torch.where(masked[:, :, None], token.to(tokens.dtype), tokens)


def mosaic(tiles: Tensor, line: int = 1) -> Tensor:
    """(B, 9, C, h, w) -> (B, C, 3h + 2 line, 3w + 2 line): 3 x 3 tiles, row by row, separated by lines of zeros."""
    framed = F.pad(tiles, (0, line, 0, line)).unflatten(1, (3, 3))  # (B, 3, 3, C, h + line, w + line)
    picture = framed.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return picture[:, :, : picture.shape[2] - line, : picture.shape[3] - line]
