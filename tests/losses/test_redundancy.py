import math

import lightly.loss as lightly
import pytest
import torch
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.losses.redundancy import barlow_twins, vicreg, w_mse, whitened


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_barlow_twins(z1: Tensor, z2: Tensor, weight: float) -> float:
    N, K = z1.shape
    total = 0.0
    for i in range(K):
        for j in range(K):
            a, b = z1[:, i], z2[:, j]
            a = (a - a.mean()) / math.sqrt(float(((a - a.mean()) ** 2).mean()) + 1e-5)
            b = (b - b.mean()) / math.sqrt(float(((b - b.mean()) ** 2).mean()) + 1e-5)
            c = float((a * b).sum()) / N
            total += (1 - c) ** 2 if i == j else weight * c**2
    return total


def test_barlow_twins_equals_a_loop() -> None:
    z1, z2 = draw(12, 5), draw(12, 5, seed=1)
    assert barlow_twins(z1, z2, 0.2).item() == pytest.approx(naive_barlow_twins(z1, z2, 0.2), rel=1e-12)


def test_barlow_twins_of_uncorrelated_equal_views_is_zero() -> None:
    q = torch.linalg.qr(torch.cat([torch.ones(8, 1, dtype=torch.float64), draw(8, 3)], dim=1)).Q[:, 1:] * 8**0.5
    assert barlow_twins(q, q).item() == pytest.approx(0, abs=1e-8)


def naive_vicreg(z1: Tensor, z2: Tensor) -> dict[str, float]:
    N, K = z1.shape
    variance = covariance = 0.0
    for z in (z1, z2):
        mean = z.mean(dim=0)
        for i in range(K):
            std = math.sqrt(float(((z[:, i] - mean[i]) ** 2).sum()) / (N - 1) + 1e-4)
            variance += max(0.0, 1 - std) / K / 2
            for j in range(K):
                if i != j:
                    covariance += (float(((z[:, i] - mean[i]) * (z[:, j] - mean[j])).sum()) / (N - 1)) ** 2 / K
    return {"invariance": float(((z1 - z2) ** 2).mean()), "variance": variance, "covariance": covariance}


def test_vicreg_equals_a_loop() -> None:
    z1, z2 = 0.7 * draw(12, 5), 0.7 * draw(12, 5, seed=1)
    found = {name: value.item() for name, value in vicreg(z1, z2).items()}
    assert found == pytest.approx(naive_vicreg(z1, z2), rel=1e-12)


def test_vicreg_of_constant_embeddings() -> None:
    found = vicreg(torch.ones(6, 4), torch.ones(6, 4))
    assert {name: round(value.item(), 6) for name, value in found.items()} == {
        "invariance": 0.0,
        "variance": 0.99,  # 1 - sqrt(1e-4)
        "covariance": 0.0,
    }


def test_whitened_has_the_identity_as_covariance() -> None:
    z = whitened(draw(50, 4) @ draw(4, 4, seed=1) + 3, epsilon=0.0)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(z.T.cov(), torch.eye(4, dtype=torch.float64), atol=1e-10, rtol=0)


def test_w_mse_equals_a_loop() -> None:
    views, order = [draw(8, 2, seed=seed) for seed in range(3)], torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    distances = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        for group in (order[:4], order[4:]):
            pairs = zip(whitened(views[a][group]), whitened(views[b][group]), strict=True)
            distances += [2 - 2 * float(x @ y / x.norm() / y.norm()) for x, y in pairs]
    assert w_mse(views, order, 4).item() == pytest.approx(sum(distances) / len(distances), rel=1e-12)


def test_equal_views_have_no_distance() -> None:
    z = draw(8, 2)
    assert w_mse([z, z], torch.arange(8), 4).item() == pytest.approx(0, abs=1e-12)


def test_what_does_not_divide_joins_the_groups() -> None:
    z1, z2 = draw(9, 2), draw(9, 2, seed=1)
    expected = [w_mse([z1[:5], z2[:5]], torch.arange(5), 5), w_mse([z1[5:], z2[5:]], torch.arange(4), 4)]
    found = w_mse([z1, z2], torch.arange(9), 4)
    assert found.item() == pytest.approx((5 * expected[0].item() + 4 * expected[1].item()) / 9, rel=1e-12)


@pytest.mark.parametrize("loss", [barlow_twins, vicreg])
def test_views_of_other_shapes(loss: object) -> None:
    with pytest.raises(InputError, match=r"one shape with 2 axes, got \(4, 2\) and \(4, 3\)"):
        loss(draw(4, 2), draw(4, 3))  # type: ignore[operator]


def test_as_lightly_has_them() -> None:
    """The same scale as lightly's, so that its learning rates carry over."""
    z1, z2 = draw(32, 6).float(), (draw(32, 6) + 0.3 * draw(32, 6, seed=1)).float()
    assert barlow_twins(z1, z2, 5e-3).item() == pytest.approx(lightly.BarlowTwinsLoss()(z1, z2).item(), rel=1e-4)
    parts = vicreg(z1, z2)
    ours = 25 * parts["invariance"] + 25 * parts["variance"] + parts["covariance"]
    assert ours.item() == pytest.approx(lightly.VICRegLoss()(z1, z2).item(), rel=1e-5)
    theirs = lightly.WMSELoss(embedding_dim=6, w_size=32)(torch.cat([z1, z2]))
    assert w_mse([z1, z2], torch.arange(32), 32).item() == pytest.approx(theirs.item(), rel=1e-3)
