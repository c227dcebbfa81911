"""Probes with few labels: the same protocol on repeated small draws from the training set."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def draw(labels: Tensor, count: int, seed: int) -> Tensor:
    """Stratified draw: `count` positions in `labels` (N,), in proportion to class sizes, (count,).

    Every class is drawn at least once if `count` allows it.
    """
    classes, of = labels.cpu().unique(return_inverse=True)
    order = torch.randperm(len(of), generator=torch.Generator().manual_seed(seed))
    order = order[torch.argsort(of[order], stable=True)]
    sizes = torch.bincount(of, minlength=len(classes))
    place = torch.arange(len(of)) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    turn = (place + 0.5) / torch.repeat_interleave(sizes, sizes)  # spreads each class evenly over (0, 1)
    first = torch.where(place == 0, -1.0, turn)
    return order[torch.argsort(first, stable=True)[:count]].sort().values


def over_draws(
    figures: Callable[[Tensor, int], dict[str, float]], labels: Tensor, counts: list[int], draws: int
) -> dict[str, float]:
    """Runs `figures(positions, seed)` on `draws` draws of each number of labels in `counts`.

    Returns `NAME_COUNT`, the mean of a figure over draws, and `NAME_COUNT_low` and `NAME_COUNT_high`, its extremes.
    """
    found: dict[str, float] = {}
    for count in counts:
        rounds = [figures(draw(labels, count, seed), seed) for seed in range(draws)]
        for name in rounds[0]:
            values = [one[name] for one in rounds]
            found[f"{name}_{count}"] = float(np.mean(values))
            found[f"{name}_{count}_low"], found[f"{name}_{count}_high"] = min(values), max(values)
    return found
