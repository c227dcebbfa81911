"""Intervals of test-set figures: how much would an accuracy move with another test set of this size?"""

import torch
from torch import Tensor

from ssl_lightning.errors import InputError


def interval(correct: Tensor, level: float = 0.95, samples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the mean of `correct` (N,) bool.

    Efron 1979. N draws with replacement from N zeros and ones have a binomial sum, so that is drawn directly.
    """
    if correct.ndim != 1 or len(correct) == 0:
        raise InputError(f"an interval needs (N,) answers with N >= 1, got {tuple(correct.shape)}")
    if not 0 < level < 1 or samples < 1:
        raise InputError(f"an interval needs a level in (0, 1) and samples >= 1, got {level} and {samples}")
    count = torch.full((samples,), float(len(correct)), dtype=torch.float64)
    accuracy = correct.double().mean().item()
    sums = torch.binomial(count, torch.full_like(count, accuracy), generator=torch.Generator().manual_seed(seed))
    tail = (1 - level) / 2
    low, high = torch.quantile(sums / len(correct), torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high
