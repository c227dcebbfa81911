"""Bootstrap intervals: how much would an accuracy vary over test sets of this size?"""

import numpy as np
from torch import Tensor


def interval(
    correct: Tensor, level: float = 0.95, samples: int = 1000, seed: int = 0, groups: Tensor | None = None
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the mean of `correct` (N,), bool or float (Efron 1979).

    With `groups` (N,) int, whole groups are drawn (cluster bootstrap, Davison & Hinkley 1997, Sec. 3.8). Rows with the
    same number, such as copies of one original, are not independent, and drawing them one by one would make the
    interval too narrow. A reliable interval needs some tens of groups; for a single group its width is 0.

    Groups with equal (hits, size) are interchangeable, so only the number of draws of each kind matters. These numbers
    are multinomial.
    """
    _, number = np.unique(np.arange(len(correct)) if groups is None else groups.cpu().numpy(), return_inverse=True)
    sums = np.stack([np.bincount(number, correct.double().cpu().numpy()), np.bincount(number)], axis=1)
    kinds, counts = np.unique(sums, axis=0, return_counts=True)  # (hits, size) of a group, and how many have them
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=samples)
    hits, rows = (drawn @ kinds).T
    low, high = np.quantile(hits / rows, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
