import math

import pytest
import torch

from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.health import alignment, effective_rank, embedding_std, uniformity


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_embedding_std_of_isotropic_and_collapsed() -> None:
    axes = torch.cat([torch.eye(6), -torch.eye(6)])
    assert embedding_std(5 * axes).item() == pytest.approx(1.0)
    assert embedding_std(draw(4000, 64)).item() == pytest.approx(1.0, abs=0.01)
    assert embedding_std(torch.ones(8, 5) * torch.arange(1, 9)[:, None]).item() == pytest.approx(0.0, abs=1e-6)
    assert embedding_std(torch.zeros(8, 5)).item() == 0.0


def test_effective_rank_is_the_number_of_equal_singular_values() -> None:
    basis = torch.linalg.qr(draw(16, 16))[0]
    for rank in (1, 3, 16):
        assert effective_rank(7 * basis[:, :rank] @ basis[:rank]).item() == pytest.approx(rank, rel=1e-3)


def test_effective_rank_of_two_singular_values() -> None:
    expected = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))).item() == pytest.approx(expected, rel=1e-5)
    assert effective_rank(torch.zeros(4, 3)).item() == 1.0


def test_alignment() -> None:
    z = draw(6, 4)
    assert alignment(z, 3 * z).item() == pytest.approx(0.0, abs=1e-10)
    assert alignment(z, -z).item() == pytest.approx(4.0)
    assert alignment(torch.eye(4), torch.eye(4).roll(1, 0)).item() == pytest.approx(2.0)


def test_uniformity() -> None:
    assert uniformity(torch.ones(5, 3)).item() == pytest.approx(0.0, abs=1e-5)
    assert uniformity(torch.eye(5)).item() == pytest.approx(-4.0)
    z = torch.nn.functional.normalize(draw(7, 3), dim=1)
    pairs = [math.exp(-2 * float((z[i] - z[j]).square().sum())) for i in range(7) for j in range(i)]
    assert uniformity(2 * z).item() == pytest.approx(math.log(sum(pairs) / len(pairs)), abs=1e-5)


@pytest.mark.parametrize("measure", [embedding_std, effective_rank, uniformity])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_gradients_do_no_harm(measure, dtype: torch.dtype) -> None:
    h = draw(8, 4).to(dtype).requires_grad_()
    assert measure(h).dtype == torch.float32
    assert not measure(h).requires_grad
    assert measure(h).item() == pytest.approx(measure(h.float()).item(), rel=1e-5)


def test_one_row_is_refused() -> None:
    with pytest.raises(InputError, match=r"B >= 2, got \(1, 4\)"):
        uniformity(torch.ones(1, 4))


def test_the_effective_rank_of_what_is_not_finite_is_nan() -> None:
    h = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    h[3, 1] = float("inf")
    assert effective_rank(h).isnan()
