"""Several crops of an image, some of them smaller (SwAV, Caron et al. 2020, https://arxiv.org/abs/2006.09882)."""

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor


def encode_by_size(encode: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> list[Tensor]:
    """`encode` of each view (B, C, S, S), as one batch for successive views of one size."""
    encoded: list[Tensor] = []
    for _, same in groupby(views, key=lambda view: view.shape):
        batch = list(same)
        encoded += encode(torch.cat(batch)).chunk(len(batch))
    return encoded


def count_global(views: Sequence[Tensor]) -> int:
    """How many views are global crops: those of the size of the first one."""
    return sum(view.shape == views[0].shape for view in views)
