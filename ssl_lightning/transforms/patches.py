"""Square patches of images, all cut out at once."""

import torch
from torch import Tensor


def cut(images: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """N patches of each image: (B, C, H, W) -> (B, N, C, size, size).

    `top` and `left` are their corners, (B, N, 1) or, where every channel has its own, (B, N, C) int64; the patches must
    lie inside the image.
    """
    B, C = images.shape[:2]
    step = torch.arange(size, device=images.device)
    rows, columns = (top[..., None] + step)[..., :, None], (left[..., None] + step)[..., None, :]
    sample = torch.arange(B, device=images.device).view(B, 1, 1, 1, 1)
    channel = torch.arange(C, device=images.device).view(C, 1, 1)
    return images[sample, channel, rows, columns]


def random_integers(high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """int64, uniform in 0..high - 1, on the device of the generator."""
    return torch.randint(high, shape, generator=generator, device=generator.device)
