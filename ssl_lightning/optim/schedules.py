"""Schedules of the learning rate and of a teacher's momentum over optimizer steps.

Warm-up: Goyal et al. 2017, https://arxiv.org/abs/1706.02677; cosine: SGDR, Loshchilov and Hutter 2017,
https://arxiv.org/abs/1608.03983 (one cycle).
"""

import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ssl_lightning.errors import InputError
from ssl_lightning.ranges import Fraction, NonNegativeFloat, NonNegativeInt


def warmup_cosine(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    warmup_epochs: NonNegativeFloat = 0,
    warmup_steps: NonNegativeInt = 0,
    final_fraction: Fraction = 0.0,
) -> LambdaLR:
    """Linear warm-up to the full rate, then half a cosine down to `final_fraction` of it at `total_steps`.

    Step it once per optimizer step. A warm-up of W steps gives the factors 1/(W+1) ... W/(W+1) and then 1, so the first
    step is not zero. A run shorter than its warm-up only warms up. After `total_steps` the rate is constant. Parameter
    groups with `scheduled: False` keep the full rate.

    Raises:
        InputError: both warm-ups are given.
    """
    if total_steps < 1:
        raise InputError(f"a schedule needs at least one step, got total_steps={total_steps}")
    if warmup_epochs and warmup_steps:
        raise InputError(f"give warmup_epochs={warmup_epochs} or warmup_steps={warmup_steps}, not both")
    warmup = min(total_steps, warmup_steps or round(warmup_epochs * steps_per_epoch))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))

    groups = optimizer.param_groups
    return LambdaLR(optimizer, [factor if group.get("scheduled", True) else lambda step: 1.0 for group in groups])


def constant(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    warmup_epochs: NonNegativeFloat = 0,
    warmup_steps: NonNegativeInt = 0,
) -> LambdaLR:
    """Linear warm-up as in `warmup_cosine`, then the full rate."""
    return warmup_cosine(optimizer, total_steps, steps_per_epoch, warmup_epochs, warmup_steps, final_fraction=1.0)


def linear(progress: float, start: float, end: float) -> float:
    """From `start` to `end` along a line, `progress` in [0, 1] of the way; beyond 1 it is constant."""
    return start + min(1.0, progress) * (end - start)


def warmed(epoch: float, epochs: float, ends: Sequence[float]) -> float:
    """From the first to the second of `ends` along a line in so many epochs, `epoch` of which are done."""
    return linear(epoch / max(epochs, 1e-9), *ends)


def momentum_cosine(progress: float, start: float, end: float) -> float:
    """Momentum of a teacher at `progress` in [0, 1]: half a cosine from `start` to `end` (BYOL, Sec. 3.3).

    Grill et al. 2020, https://arxiv.org/abs/2006.07733, use end = 1. Beyond progress 1 it is constant.
    """
    return end - (end - start) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
