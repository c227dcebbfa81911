import math

import pytest
import torch

from ssl_lightning.errors import InputError
from ssl_lightning.losses.reconstruction import masked_l1, masked_mse, normalized_patches, smooth_l1


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_normalized_patches() -> None:
    patches = 3 * draw(2, 5, 12) + 1
    target, mean, deviation = normalized_patches(patches)
    torch.testing.assert_close(target.mean(dim=2), torch.zeros(2, 5, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(target.var(dim=2), torch.ones(2, 5, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(target * deviation + mean, patches)


def test_a_patch_of_one_color_becomes_zero() -> None:
    target, _, deviation = normalized_patches(torch.full((1, 1, 9), 0.7))
    torch.testing.assert_close(target, torch.zeros(1, 1, 9), atol=1e-3, rtol=0)
    assert deviation.item() == pytest.approx(1e-3, rel=1e-3)


def test_mse_is_a_loop() -> None:
    p, t = draw(2, 3, 4), draw(2, 3, 4, seed=1)
    naive = sum((float(p[b, m, i]) - float(t[b, m, i])) ** 2 for b in range(2) for m in range(3) for i in range(4)) / 24
    assert masked_mse(p, t).item() == pytest.approx(naive, rel=1e-12)
    assert masked_mse(t + 2, t).item() == pytest.approx(4, rel=1e-12)


def test_l1_is_a_loop_over_masked_pixels() -> None:
    p, t = draw(3, 4, 5), draw(3, 4, 5, seed=1)
    masked = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 1], [1, 1, 1, 1]], dtype=torch.bool)
    means = []
    for b in range(3):
        pixels = [abs(float(p[b, n, i] - t[b, n, i])) for n in range(4) if masked[b, n] for i in range(5)]
        means.append(sum(pixels) / len(pixels))
    assert masked_l1(p, t, masked).item() == pytest.approx(sum(means) / 3, rel=1e-12)


def test_l1_of_equal_counts_is_the_mean_over_all_masked_pixels() -> None:
    p, t = draw(2, 4, 5), draw(2, 4, 5, seed=1)
    masked = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]], dtype=torch.bool)
    assert masked_l1(p, t, masked).item() == pytest.approx(float((p - t).abs()[masked].mean()), rel=1e-12)
    assert masked_l1(t - 3, t, masked).item() == pytest.approx(3, rel=1e-12)


def test_what_is_visible_has_no_say() -> None:
    p, t = draw(2, 4, 5).requires_grad_(), draw(2, 4, 5, seed=1)
    masked = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]], dtype=torch.bool)
    masked_l1(p, t, masked).backward()
    assert p.grad is not None
    assert not p.grad[~masked].any()
    assert p.grad[masked].all()


def test_smooth_l1_is_a_loop_on_normalized_targets() -> None:
    p, t = 2 * draw(2, 3, 6), 5 * draw(2, 3, 6, seed=1) + 2
    terms = []
    for b in range(2):
        for k in range(3):
            mean = float(t[b, k].mean())
            deviation = math.sqrt(sum((float(x) - mean) ** 2 for x in t[b, k]) / 6 + 1e-5)
            for x, y in zip(p[b, k].tolist(), t[b, k].tolist(), strict=True):
                d = abs(x - (y - mean) / deviation)
                terms.append(d * d / 2 if d < 1 else d - 0.5)
    assert smooth_l1(p, t).item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)
    normal = torch.nn.functional.layer_norm(t, (6,))
    assert smooth_l1(normal + 3, t).item() == pytest.approx(2.5, rel=1e-9)
    assert smooth_l1(normal, t).item() == pytest.approx(0, abs=1e-12)


def test_no_gradient_enters_a_target() -> None:
    masked = torch.ones(2, 3, dtype=torch.bool)
    for loss in (masked_mse, smooth_l1, lambda p, t: masked_l1(p, t, masked)):
        p, t = draw(2, 3, 4).requires_grad_(), draw(2, 3, 4, seed=1).requires_grad_()
        loss(p, t).backward()
        assert p.grad is not None
        assert p.grad.any()
        assert t.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    p, t = draw(2, 3, 4).to(dtype), draw(2, 3, 4, seed=1).to(dtype)
    masked = torch.ones(2, 3, dtype=torch.bool)
    for loss in (masked_mse(p, t), smooth_l1(p, t), masked_l1(p, t, masked), normalized_patches(p)[0]):
        assert loss.dtype == torch.float32


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InputError, match=r"one shape with 3 axes, got \(2, 3, 4\) and \(2, 3, 5\)"):
        masked_mse(draw(2, 3, 4), draw(2, 3, 5))
