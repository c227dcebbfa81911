"""Probes with few labels: the same protocol on repeated small draws from the training set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor


def draw(labels: Tensor, count: int, seed: int) -> Tensor:
    """Stratified draw: `count` positions in `labels` (N,), in proportion to class sizes, (count,).

    Every class is drawn at least once if `count` allows it.
    """
    order, place, size = _shuffled_by_class(labels, seed)
    turn = (place + 0.5) / size  # spreads each class evenly over (0, 1)
    first = torch.where(place == 0, -1.0, turn)
    return order[torch.argsort(first, stable=True)[:count]].sort().values


def draw_of_each_class(labels: Tensor, count: int, seed: int) -> Tensor:
    """`count` positions of each class in `labels` (N,)."""
    order, place, _ = _shuffled_by_class(labels, seed)
    return order[place < count].sort().values


def _shuffled_by_class(labels: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions in `labels` (N,), class after class in random order; the place of each in its class, and its size."""
    classes, of = labels.cpu().unique(return_inverse=True)
    order = torch.randperm(len(of), generator=torch.Generator().manual_seed(seed))
    order = order[torch.argsort(of[order], stable=True)]
    sizes = torch.bincount(of, minlength=len(classes))
    place = torch.arange(len(of)) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    return order, place, torch.repeat_interleave(sizes, sizes)


@dataclass(frozen=True)
class LabelBudgets:
    """All labels of a set, and `draws` draws of few where it has more: `counts`, `percents`, or `each` a class."""

    counts: Sequence[int]
    draws: int
    percents: Sequence[int] = ()
    each: Sequence[int] = ()

    def over_all_and_few(self, labels: Tensor, figures: Callable[[Tensor, int], dict[str, float]]) -> dict[str, float]:
        """`figures(rows of the set, seed)` with all `labels` (N,), and its accuracies over the draws of few.

        Of these `NAME_FEW` is the mean, `NAME_FEW_low` and `NAME_FEW_high` are the extremes; FEW is "100", "10_percent"
        or "5_a_class".
        """
        found = figures(torch.arange(len(labels)), 0)
        for few, drawn in self.few(labels).items():
            rounds = [figures(drawn(seed), seed) for seed in range(self.draws)]
            for name in (name for name in rounds[0] if name.endswith("accuracy")):
                values = [one[name] for one in rounds]
                mean, ends = float(np.mean(values)), (min(values), max(values))
                found |= {f"{name}_{few}": mean, f"{name}_{few}_low": ends[0], f"{name}_{few}_high": ends[1]}
        return found

    def few(self, labels: Tensor) -> dict[str, Callable[[int], Tensor]]:
        """By name, from a seed to the rows that are drawn; a share of fewer labels than classes is left out."""
        sizes = labels.unique(return_counts=True)[1]
        shares = {f"{percent}_percent": round(len(labels) * percent / 100) for percent in self.percents}
        counts = {**{str(n): n for n in self.counts}, **{few: n for few, n in shares.items() if n >= len(sizes)}}
        return {
            **{few: partial(draw, labels, n) for few, n in counts.items() if n < len(labels)},
            **{f"{n}_a_class": partial(draw_of_each_class, labels, n) for n in self.each if n < sizes.min()},
        }
