"""Images as sequences of square patches, in reading order, and back."""

import torch.nn.functional as F
from torch import Tensor


def patchify(x: Tensor, size: int) -> Tensor:
    """(B, C, S, S) -> (B, N, C * size * size), S a multiple of `size`."""
    B, C, S, _ = x.shape
    g = S // size
    return x.reshape(B, C, g, size, g, size).permute(0, 2, 4, 1, 3, 5).reshape(B, g * g, C * size * size)


def unpatchify(patches: Tensor, channels: int) -> Tensor:
    """(B, N, C * size * size) -> (B, C, S, S), N being a square number."""
    B, N, pixels = patches.shape
    g, size = round(N**0.5), round((pixels / channels) ** 0.5)
    return patches.reshape(B, g, g, channels, size, size).permute(0, 3, 1, 4, 2, 5).reshape(B, channels, g * size, -1)


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """tokens (B, N, D), indices (B, M) -> (B, M, D): of each sample those that are named, in that order."""
    return tokens.gather(1, indices[:, :, None].expand(-1, -1, tokens.shape[2]))


def scatter_tokens(tokens: Tensor, indices: Tensor, values: Tensor) -> Tensor:
    """A copy of tokens (B, N, D) with `values` (B, M, D) at `indices` (B, M)."""
    return tokens.scatter(1, indices[:, :, None].expand(-1, -1, tokens.shape[2]), values)


def mosaic(tiles: Tensor, line: int = 1) -> Tensor:
    """(B, 9, C, h, w), along the rows -> (B, C, 3h + 2 line, 3w + 2 line), with lines of zeros between them."""
    framed = F.pad(tiles, (0, line, 0, line)).unflatten(1, (3, 3))  # (B, 3, 3, C, h + line, w + line)
    picture = framed.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return picture[:, :, : picture.shape[2] - line, : picture.shape[3] - line]
