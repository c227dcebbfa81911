"""Clips of different length as vectors of one length."""

import torch
from torch import Tensor

SEGMENTS = 8


def segment_means(frames: Tensor, count: Tensor, segments: int = SEGMENTS) -> Tensor:
    """Of frames (B, C, T), of which the first `count` (B,) are no padding: (B, C * (2 + segments)).

    Mean and standard deviation of each row of the clip, then its means in equal `segments`, which share a frame at
    their border where the frames do not divide (as `adaptive_avg_pool1d`).
    """
    place = torch.arange(frames.shape[2], device=frames.device)
    whole = (place < count[:, None]).to(frames)[:, None]  # (B, 1, T)
    start = torch.arange(segments, device=frames.device)[:, None]
    first = start * count[:, None, None] // segments  # (B, segments, 1)
    last = -(-(start + 1) * count[:, None, None] // segments)
    inside = ((place >= first) & (place < last)).to(frames)
    means = _mean(frames, torch.cat([whole, inside], dim=1))
    deviation = _mean((frames - means[..., :1]).square(), whole).sqrt()
    return torch.cat([means, deviation], dim=2).flatten(1)


def _mean(frames: Tensor, weight: Tensor) -> Tensor:
    """(B, C, T) under weights (B, K, T) -> (B, C, K)."""
    return frames @ (weight / weight.sum(dim=2, keepdim=True)).mT
