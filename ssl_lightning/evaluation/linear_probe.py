"""Linear probe: multinomial logistic regression on frozen features, solved to its optimum.

The problem is convex and has one solution, so there is no learning rate, number of epochs or seed to tune: full-batch
L-BFGS from zero. The objective is that of scikit-learn with C = 1 / l2: sum of cross-entropies + l2 / 2 |weight|^2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.knn import check_labels

_CHOICE_SAMPLES = 10_000
_HELD_OUT = 0.2
_MAX_ITERATIONS = 500


@dataclass(frozen=True)
class LinearProbe:
    """Linear classifier, `weight` (C, D) and `bias` (C,), of features standardized by `mean` and `std` (D,)."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, C); minus infinity for classes without a training sample."""
        return (features.to(self.mean) - self.mean) / self.std @ self.weight.T + self.bias

    def predict(self, features: Tensor) -> Tensor:
        """(N, D) -> (N,) classes."""
        return self.logits(features).argmax(dim=1)


def fit_linear(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    l2: float,
    tolerance: float = 1e-7,
    start: LinearProbe | None = None,
) -> LinearProbe:
    """The optimal probe for `features` (N, D) and `labels` (N,), on the features' device.

    A constant column becomes 0.

    Args:
        l2: penalty > 0 on the weights (not the biases) of standardized features, scikit-learn's 1 / C.
        tolerance: the solver stops when no entry of the gradient (of the objective divided by N) is larger.
        start: the probe of another `l2` on the same samples, from which the solver begins.
    """
    check_labels(labels, features, num_classes)
    if not l2 > 0:
        raise InputError(f"l2 must be positive, got {l2}")
    std, mean = torch.std_mean(features.double(), dim=0, correction=0)
    std = torch.where(std > 1e-6 * mean.abs().clamp(min=1e-6), std, 1.0)
    x = (features.double() - mean) / std
    present, y = labels.unique(return_inverse=True)
    begin = x.new_zeros(len(present), x.shape[1] + 1)
    if start is not None:
        begin = torch.cat([start.weight, start.bias[:, None]], dim=1)[present]
    near = _optimum(x.float(), y, l2, begin.float(), max(tolerance, 1e-5))  # most of the way at half the cost
    optimum = _optimum(x, y, l2, near.double(), tolerance)
    weight = x.new_zeros(num_classes, x.shape[1])
    bias = x.new_full((num_classes,), float("-inf"))
    weight[present], bias[present] = optimum[:, :-1], optimum[:, -1]
    return LinearProbe(weight, bias, mean, std)


def _optimum(x: Tensor, y: Tensor, l2: float, begin: Tensor, tolerance: float) -> Tensor:
    """The optimal weight and bias, (C, D + 1), for standardized `x` (N, D) and `y` (N,), from those of `begin`."""
    parameters = begin.requires_grad_()
    row = torch.arange(len(y), device=y.device)
    columns = x.T.contiguous()  # (D, N): the thin matrix products are faster in this layout
    optimizer = torch.optim.LBFGS(
        [parameters],
        max_iter=_MAX_ITERATIONS,
        history_size=20,
        tolerance_grad=tolerance,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )

    @torch.no_grad()
    def objective() -> Tensor:
        """The loss; its gradient, written out, takes half the time of autograd."""
        weight, bias = parameters[:, :-1], parameters[:, -1:]
        logits = torch.addmm(bias, weight, columns)  # (C, N)
        logits -= logits.amax(dim=0)
        right = logits[y, row]
        shares = logits.exp_()
        total = shares.sum(dim=0)
        shares /= total
        shares[y, row] -= 1
        decay = l2 / len(x) * weight
        parameters.grad = torch.cat([shares @ x / len(x) + decay, shares.mean(dim=1, keepdim=True)], dim=1)
        return (total.log() - right).mean() + 0.5 * (decay * weight).sum()

    optimizer.step(objective)
    return parameters.detach()


def choose_l2(features: Tensor, labels: Tensor, grid: Sequence[float], seed: int = 0) -> float:
    """The value of `grid` with the best accuracy on a held-out fifth of these (training) features and labels.

    Uses at most 10,000 samples, drawn by `seed`. Fits run from the strongest penalty to the weakest, each from the
    optimum before it; a tie goes to the stronger. The penalty is a fixed prior that does not scale with N, so the
    choice also holds for all samples. The global random state does not change.
    """
    drawn = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:_CHOICE_SAMPLES]
    drawn = drawn.to(features.device)
    held_out = max(1, round(_HELD_OUT * len(drawn)))
    test, train = drawn[:held_out], drawn[held_out:]
    num_classes = int(labels.max()) + 1
    correct: dict[float, int] = {}
    probe = None
    for l2 in sorted(grid, reverse=True):
        probe = fit_linear(features[train], labels[train], num_classes, l2, tolerance=1e-5, start=probe)
        correct[l2] = int((probe.predict(features[test]) == labels[test]).sum())
    return max(correct, key=correct.__getitem__)
