"""Probes with few labels: the same protocol on repeated small draws from the training set."""

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class LabelBudgets:
    """All labels of a set, and `draws` draws of each of `counts` of them, where the set has more."""

    counts: list[int]
    draws: int

    def over_all_and_few(self, labels: Tensor, figures: Callable[[Tensor, int], dict[str, float]]) -> dict[str, float]:
        """`figures(rows of the set, seed)` with all `labels` (N,), and its accuracies over the draws of few.

        Of these `NAME_COUNT` is the mean, `NAME_COUNT_low` and `NAME_COUNT_high` are the extremes.
        """
        found = figures(torch.arange(len(labels)), 0)
        for count in (count for count in self.counts if count < len(labels)):
            rounds = [figures(draw(labels, count, seed), seed) for seed in range(self.draws)]
            for name in (name for name in rounds[0] if name.endswith("accuracy")):
                values = [one[name] for one in rounds]
                few = f"{name}_{count}"
                found |= {few: float(np.mean(values)), f"{few}_low": min(values), f"{few}_high": max(values)}
        return found
