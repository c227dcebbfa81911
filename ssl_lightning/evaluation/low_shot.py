"""Probes with few labels: the same protocol on small draws of the training set, repeated."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def draw(labels: Tensor, count: int, seed: int) -> Tensor:
    """`count` positions of `labels` (N,), each class by its share and at least once where `count` allows, (count,)."""
    classes, of = labels.cpu().unique(return_inverse=True)
    order = torch.randperm(len(of), generator=torch.Generator().manual_seed(seed))
    order = order[torch.argsort(of[order], stable=True)]
    sizes = torch.bincount(of, minlength=len(classes))
    place = torch.arange(len(of)) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    turn = (place + 0.5) / torch.repeat_interleave(sizes, sizes)  # the first of each class, the second ...
    first = torch.where(place == 0, -1.0, turn)
    return order[torch.argsort(first, stable=True)[:count]].sort().values


def over_draws(
    figures: Callable[[Tensor, int], dict[str, float]], labels: Tensor, counts: list[int], draws: int
) -> dict[str, float]:
    """The mean of each of `figures(positions, seed)` over `draws` draws of each of `counts` labels.

    `NAME_COUNT`: the mean; `NAME_COUNT_low` and `_high`: the worst and the best draw.
    """
    found: dict[str, float] = {}
    for count in counts:
        rounds = [figures(draw(labels, count, seed), seed) for seed in range(draws)]
        for name in rounds[0]:
            values = [one[name] for one in rounds]
            found[f"{name}_{count}"] = float(np.mean(values))
            found[f"{name}_{count}_low"], found[f"{name}_{count}_high"] = min(values), max(values)
    return found
