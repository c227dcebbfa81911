"""Bootstrap intervals: how much would an accuracy vary over test sets of this size?"""

import torch
from torch import Tensor


def interval(
    correct: Tensor, level: float = 0.95, samples: int = 1000, seed: int = 0, groups: Tensor | None = None
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the mean of `correct` (N,), bool or float (Efron 1979).

    With `groups` (N,) int, whole groups are drawn (cluster bootstrap, Davison & Hinkley 1997, Sec. 3.8). Rows with the
    same number, such as copies of one original, are not independent, and drawing them one by one would make the
    interval too narrow. A reliable interval needs some tens of groups; for a single group its width is 0.

    Groups with equal (hits, size) are interchangeable, so only the number of draws of each kind matters. These numbers
    are multinomial, drawn as a chain of binomials.
    """
    kinds, counts = _kinds(correct.cpu(), None if groups is None else groups.cpu())
    generator = torch.Generator().manual_seed(seed)
    left = torch.full((samples,), float(sum(counts)), dtype=torch.float64)
    hits, rows = torch.zeros_like(left), torch.zeros_like(left)
    for kind, (hit, size) in enumerate(kinds):
        share = counts[kind] / sum(counts[kind:])
        drawn = torch.binomial(left, torch.full_like(left, share), generator=generator)
        left, hits, rows = left - drawn, hits + drawn * hit, rows + drawn * size
    tail = (1 - level) / 2
    low, high = torch.quantile(hits / rows, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def _kinds(correct: Tensor, groups: Tensor | None) -> tuple[list[list[float]], list[int]]:
    """The distinct (hits, size) of the groups, most hits first, and the number of groups of each kind."""
    hits, sizes = correct.double(), torch.ones_like(correct, dtype=torch.double)
    if groups is not None:
        _, number, sizes = groups.unique(return_inverse=True, return_counts=True)
        sizes = sizes.double()
        hits = torch.zeros_like(sizes).index_add_(0, number, hits)
    kinds, counts = torch.stack([hits, sizes], dim=1).unique(dim=0, return_counts=True)
    return kinds.flip(0).tolist(), counts.flip(0).tolist()
