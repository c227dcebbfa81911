"""Two label-free figures of the benchmark, against spectra that are known and a formula by loops."""

import math

import numpy as np
import pytest
import torch
from label_free_selection import alpha_req, lidar
from scipy.linalg import sqrtm


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_alpha_is_the_power_of_the_spectrum() -> None:
    basis = torch.linalg.qr(draw(400, 40) - draw(400, 40).mean(dim=0))[0]  # orthonormal columns of mean 0
    for power in (0.5, 1.0, 2.0):
        spectrum = torch.arange(1, 41).float() ** (-power / 2)
        assert alpha_req(basis * spectrum + 3).item() == pytest.approx(power, rel=1e-3)
    assert math.isnan(alpha_req(torch.ones(8, 3)).item())


def test_lidar_counts_the_directions_that_tell_samples_apart() -> None:
    means = torch.linalg.qr(draw(200, 16) - draw(200, 16).mean(dim=0))[0] * 200**0.5  # covariance 1
    noise = 0.1 * draw(200, 20, 16, seed=1)
    assert lidar(means[:, None] + noise).item() == pytest.approx(16, rel=0.02)
    means[:, 5:] = 0
    assert lidar(means[:, None] + noise).item() == pytest.approx(5, rel=0.05)


def test_lidar_is_that_of_its_formula() -> None:
    """Eq. 1 to 5 with loops and a matrix square root."""
    views, delta = draw(12, 4, 5), 1e-4
    means, within, between = views.mean(dim=1).double(), torch.zeros(5, 5).double(), torch.zeros(5, 5).double()
    for sample, mean in zip(views.double(), means, strict=True):
        between += (mean - means.mean(dim=0)).outer(mean - means.mean(dim=0)) / 12
        within += sum((view - mean).outer(view - mean) for view in sample) / 48
    root = torch.from_numpy(np.linalg.inv(sqrtm((within + delta * torch.eye(5)).numpy())))
    p = torch.linalg.eigvalsh(root @ between @ root)
    p = p / p.sum()
    assert lidar(views, delta).item() == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-6)
