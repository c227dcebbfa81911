import pytest
import torch

from ssl_lightning.errors import InputError
from ssl_lightning.losses.cosine import byol_loss


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_equals_the_squared_distance_of_unit_vectors() -> None:
    p, z = draw(5, 3), draw(5, 3, seed=1)
    naive = sum(float(((a / a.norm() - b / b.norm()) ** 2).sum()) for a, b in zip(p, z, strict=True)) / 5
    assert byol_loss(p, z).item() == pytest.approx(naive, rel=1e-12)


@pytest.mark.parametrize(("scale", "expected"), [(3.0, 0.0), (-0.5, 4.0)])
def test_parallel_and_opposite(scale: float, expected: float) -> None:
    p = draw(4, 3)
    assert byol_loss(p, scale * p).item() == pytest.approx(expected, abs=1e-12)


def test_orthogonal() -> None:
    assert byol_loss(torch.eye(4), torch.eye(4).roll(1, 0)).item() == 2.0


def test_no_gradient_enters_the_target() -> None:
    p, z = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    byol_loss(p, z).backward()
    assert p.grad is not None
    assert p.grad.abs().sum() > 0
    assert z.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_large_inputs_stay_finite(dtype: torch.dtype) -> None:
    p, z = draw(8, 16, dtype=dtype).mul_(1e4).requires_grad_(), draw(8, 16, seed=1, dtype=dtype).mul_(1e4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = byol_loss(p, z)
    loss.backward()
    assert loss.dtype == torch.float32
    assert p.grad is not None
    assert p.grad.isfinite().all()
    assert loss.item() == pytest.approx(byol_loss(p.double(), z.double()).item(), rel=1e-5)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InputError, match=r"\(4, 3\) and \(4, 2\)"):
        byol_loss(draw(4, 3), draw(4, 2))
