import pytest
import torch
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.losses.pixels import channel_errors, gradient_difference


def images(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_channel_errors(predicted: Tensor, target: Tensor) -> Tensor:
    B, C, H, W = predicted.shape
    sums = [0.0] * C
    for b in range(B):
        for c in range(C):
            for y in range(H):
                for x in range(W):
                    sums[c] += float(predicted[b, c, y, x] - target[b, c, y, x]) ** 2
    return torch.tensor(sums, dtype=torch.float64) / (B * H * W)


def naive_gradient_difference(predicted: Tensor, target: Tensor) -> float:
    B, C, H, W = predicted.shape
    across, down = [], []
    for b in range(B):
        for c in range(C):
            for y in range(H):
                for x in range(W):
                    p, t = predicted[b, c], target[b, c]
                    if x:
                        across.append(abs(abs(float(p[y, x] - p[y, x - 1])) - abs(float(t[y, x] - t[y, x - 1]))))
                    if y:
                        down.append(abs(abs(float(p[y, x] - p[y - 1, x])) - abs(float(t[y, x] - t[y - 1, x]))))
    return (sum(across) / len(across) + sum(down) / len(down)) / 2


def test_channel_errors_are_those_of_a_loop() -> None:
    p, t = images(0, 2, 3, 4, 5), images(1, 2, 3, 4, 5)
    torch.testing.assert_close(channel_errors(p, t), naive_channel_errors(p, t))


def test_frames_count_like_samples() -> None:
    p, t = images(0, 2, 6, 3, 4, 5), images(1, 2, 6, 3, 4, 5)
    torch.testing.assert_close(channel_errors(p, t), channel_errors(p.flatten(0, 1), t.flatten(0, 1)))


def test_a_channel_off_by_a_constant() -> None:
    t = images(0, 4, 2, 3, 3)
    off = torch.tensor([0.5, -2.0], dtype=torch.float64)
    torch.testing.assert_close(channel_errors(t + off[:, None, None], t), off.square())


def test_gradient_difference_is_that_of_a_loop() -> None:
    p, t = images(0, 2, 3, 4, 5), images(1, 2, 3, 4, 5)
    assert gradient_difference(p, t).item() == pytest.approx(naive_gradient_difference(p, t))


def test_gradient_difference_sees_slopes_alone() -> None:
    """Brightness and the sign of a slope do not matter; a flat picture is charged for every slope of the target."""
    t = images(0, 2, 1, 6, 6)
    assert gradient_difference(t + 3, t).item() == pytest.approx(0, abs=1e-12)
    assert gradient_difference(-t, t).item() == 0
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    assert gradient_difference(torch.zeros_like(ramp), ramp).item() == 0.5  # 1 across, 0 down


def test_half_precision_is_summed_in_float32() -> None:
    p, t = images(0, 2, 1, 6, 6).bfloat16(), images(1, 2, 1, 6, 6).bfloat16()
    for loss in (channel_errors, gradient_difference):
        assert loss(p, t).dtype == torch.float32
        torch.testing.assert_close(loss(p, t), loss(p.float(), t.float()))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(2, 1, 6, 6\) and their targets \(2, 1, 5, 5\)"):
        channel_errors(images(0, 2, 1, 6, 6), images(0, 2, 1, 5, 5))
