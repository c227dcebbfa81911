import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ssl_lightning.losses.variational import gaussian_nll, kl_to_standard_normal


def grid(n: int = 4001, reach: float = 12.0) -> tuple[Tensor, float]:
    z = torch.linspace(-reach, reach, n, dtype=torch.float64)
    return z, float(z[1] - z[0])


def log_normal(x: Tensor, mean: float, variance: float) -> Tensor:
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance))


@pytest.mark.parametrize(("mean", "log_variance"), [(0.0, 0.0), (1.5, -2.0), (-0.7, 0.8)])
def test_kl_is_that_of_a_numerical_integral(mean: float, log_variance: float) -> None:
    z, step = grid()
    q = log_normal(z, mean, math.exp(log_variance))
    integral = float((q.exp() * (q - log_normal(z, 0, 1))).sum() * step)
    found = kl_to_standard_normal(torch.tensor([[mean]]), torch.tensor([[log_variance]]))
    assert found.item() == pytest.approx(integral, abs=1e-6)


def test_kl_is_torchs_and_sums_over_the_code() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


def test_nll_is_torchs() -> None:
    x, mean, variance = torch.randn(50), torch.randn(50), torch.tensor(0.3)
    expected = -Normal(mean, variance.sqrt()).log_prob(x).mean()
    torch.testing.assert_close(gaussian_nll((x - mean).square().mean(), variance), expected)


@pytest.mark.parametrize("x", [-1.0, 0.4, 2.0])
def test_the_bound_is_below_the_evidence_and_touches_it_at_the_true_posterior(x: float) -> None:
    """p(z) = N(0, 1), p(x | z) = N(a z, s): log p(x) and the posterior are known, and log p(x) is integrated too."""
    a, s = 1.3, 0.25
    z, step = grid()
    evidence = float(torch.logsumexp(log_normal(z, 0, 1) + likelihood(x, z, a, s), 0)) + math.log(step)
    assert evidence == pytest.approx(float(log_normal(torch.tensor(x), 0, a**2 + s)), abs=1e-6)
    posterior_variance = 1 / (1 + a**2 / s)
    posterior_mean = posterior_variance * a * x / s
    assert bound(x, posterior_mean, posterior_variance, a, s) == pytest.approx(evidence, abs=1e-6)
    for mean, variance in ((posterior_mean + 0.3, posterior_variance), (posterior_mean, 2 * posterior_variance)):
        assert bound(x, mean, variance, a, s) < evidence - 1e-3


def likelihood(x: float, z: Tensor, a: float, s: float) -> Tensor:
    return -0.5 * ((x - a * z) ** 2 / s + math.log(2 * math.pi * s))


def bound(x: float, mean: float, variance: float, a: float, s: float) -> float:
    """E_q[log p(x | z)] - KL(q || p): under q the expected squared error is known."""
    squared_error = torch.tensor((x - a * mean) ** 2 + a**2 * variance)
    kl = kl_to_standard_normal(torch.tensor([[mean]]), torch.tensor([[variance]]).log())
    return -float(gaussian_nll(squared_error, torch.tensor(s))) - float(kl)
