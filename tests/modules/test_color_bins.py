import math

import pytest
import torch

from ssl_lightning.color import rgb_to_lab
from ssl_lightning.modules.color_bins import ColorBins, gamut_bins


def test_bins_lie_on_the_grid() -> None:
    centers = gamut_bins(10)
    assert len(centers) == 309
    assert len(centers.unique(dim=0)) == 309
    assert not (centers % 10).any()
    assert [0.0, 0.0] in centers.tolist()


def test_every_color_lies_between_four_bins_and_every_bin_at_a_color() -> None:
    """Of all colors of 33 levels, also those inside the cube."""
    levels = torch.linspace(0, 1, 33)
    cube = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).flatten(1)[:, :, None]
    ab = rgb_to_lab(cube)[1:, :, 0].T
    centers = gamut_bins(10)
    known = {tuple(center) for center in centers.tolist()}
    squares = (ab / 10).floor().unique(dim=0) * 10
    corners = {(a + i, b + j) for a, b in squares.tolist() for i in (0, 10) for j in (0, 10)}
    assert corners <= known
    assert torch.cdist(centers, ab).min(dim=1).values.max() < 10 * math.sqrt(2)


def naive_shares(ab: list[float], centers: list[list[float]]) -> dict[int, float]:
    """Sec. 2.2: the five nearest, weighed by a Gaussian of their distance, normalized."""
    distances = sorted((math.dist(ab, center), q) for q, center in enumerate(centers))[:5]
    weights = {q: math.exp(-(d**2) / (2 * 5**2)) for d, q in distances}
    return {q: w / sum(weights.values()) for q, w in weights.items()}


def test_soft_answers() -> None:
    bins = ColorBins()
    ab = torch.randn(20, 2, dtype=torch.float64) * 30
    found, shares = bins.encode(ab)
    for row in range(20):
        expected = naive_shares(ab[row].tolist(), bins.centers.tolist())
        assert dict(zip(found[row].tolist(), shares[row].tolist(), strict=True)) == pytest.approx(expected)
    assert (shares.diff(dim=1) <= 0).all(), "nearest first"


def test_annealed_mean() -> None:
    bins = ColorBins()
    logits = torch.randn(2, len(bins), 3, 4)
    p = logits.softmax(dim=1).double()
    annealed = p ** (1 / 0.38) / (p ** (1 / 0.38)).sum(dim=1, keepdim=True)  # Eq. 5
    expected = sum(annealed[:, q, None] * bins.centers[q].double().view(2, 1, 1) for q in range(len(bins)))
    torch.testing.assert_close(bins.decode(logits, 0.38), expected.float(), atol=1e-3, rtol=1e-3)


def test_mode_and_mean() -> None:
    bins = ColorBins()
    logits = torch.randn(1, len(bins), 1, 1)
    mode = bins.centers[int(logits.argmax())]
    torch.testing.assert_close(bins.decode(logits, 1e-4).flatten(), mode, atol=1e-2, rtol=0)
    uniform = bins.decode(torch.zeros(1, len(bins), 1, 1), 1.0).flatten()
    torch.testing.assert_close(uniform, bins.centers.mean(dim=0), atol=1e-3, rtol=0)


def test_a_bin_decodes_to_itself() -> None:
    bins = ColorBins()
    found, _ = bins.encode(bins.centers)
    assert found[:, 0].tolist() == list(range(len(bins)))
