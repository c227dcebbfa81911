import cmath
import itertools
import math

import lightly.loss as lightly
import pytest
import torch
from torch.nn import functional as F

from ssl_lightning.losses.gaussian import sigreg


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_sigreg(z: torch.Tensor, directions: torch.Tensor, points: int, limit: float) -> float:
    statistics = []
    step = limit / (points - 1)
    for direction in directions.T:
        errors = []
        for k in range(points):
            t = k * step
            seen = sum(cmath.exp(1j * t * float(x @ direction)) for x in z) / len(z)
            errors.append(abs(seen - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2))
        statistics.append(2 * len(z) * sum((a + b) / 2 * step for a, b in itertools.pairwise(errors)))
    return sum(statistics) / len(statistics)


def test_sigreg_equals_a_loop() -> None:
    z, directions = 2 * draw(6, 3) + 1, F.normalize(draw(3, 4, seed=1), dim=0)
    assert sigreg(z, directions, 9, 2.0).item() == pytest.approx(naive_sigreg(z, directions, 9, 2.0), rel=1e-12)


def test_gaussian_embeddings_have_the_least() -> None:
    """The expected value for a Gaussian sample is the integral of (1 - exp(-t^2)) exp(-t^2 / 2): about 1.06."""
    directions = F.normalize(draw(8, 64, seed=1), dim=0)
    gaussian = sigreg(draw(4096, 8, seed=2), directions).item()
    assert 0.6 < gaussian < 1.6
    assert sigreg(torch.zeros(4096, 8), directions).item() > 1000 * gaussian
    assert sigreg(2 * draw(4096, 8, seed=2), directions).item() > 100 * gaussian
    assert sigreg(draw(4096, 8, seed=2).sign(), torch.eye(8, dtype=torch.float64)).item() > 100 * gaussian


def test_as_lightly_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    z = draw(32, 6).float()
    theirs = lightly.SIGReg(num_vectors=16)
    drawn = []
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *a, **k: drawn.append(randn(*a, **k)) or drawn[-1])
    value = theirs(z)
    directions = F.normalize(drawn[0], dim=0 if drawn[0].shape[0] == 6 else 1)
    directions = directions if directions.shape[0] == 6 else directions.T
    assert sigreg(z, directions).item() == pytest.approx(value.item(), rel=1e-4)
