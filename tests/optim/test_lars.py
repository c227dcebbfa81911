import pytest
import torch
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.optim.lars import LARS


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(
    w: Tensor,
    gradients: list[Tensor],
    lr: float,
    momentum: float,
    decay: float,
    eta: float,
    nesterov: bool,
    adapt: bool,
) -> Tensor:
    buffer = torch.zeros_like(w)
    for g in gradients:
        d = g + decay * w
        if adapt and w.norm() > 0 and g.norm() > 0:
            d = d * float(eta * w.norm() / (g.norm() + decay * w.norm()))
        buffer = momentum * buffer + d
        w = w - lr * (d + momentum * buffer if nesterov else buffer)
    return w


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_equals_the_naive_update(momentum: float, nesterov: bool, decay: float) -> None:
    weight, kernel, bias = (
        draw(*shape, seed=i).requires_grad_() for i, shape in enumerate([(4, 3), (2, 3, 2, 2), (4,)])
    )
    gradients = [[draw(*w.shape, seed=10 * step + w.ndim) for step in range(4)] for w in (weight, kernel, bias)]
    expected = [
        naive(w.detach(), g, 0.5, momentum, wd, 0.01, nesterov, adapt)
        for w, g, wd, adapt in zip(
            (weight, kernel, bias), gradients, (decay, decay, 0.0), (True, True, False), strict=True
        )
    ]
    groups = [{"params": [weight, kernel]}, {"params": [bias], "weight_decay": 0.0, "adapt": False}]
    optimizer = LARS(groups, 0.5, momentum, decay, trust_coefficient=0.01, nesterov=nesterov)
    for step in range(4):
        for w, g in zip((weight, kernel, bias), gradients, strict=True):
            w.grad = g[step].clone()
        optimizer.step()
    for w, truth, g in zip((weight, kernel, bias), expected, gradients, strict=True):
        torch.testing.assert_close(w.detach(), truth, rtol=1e-12, atol=1e-12)
        assert torch.equal(w.grad, g[-1])


def test_not_adapted_is_torch_sgd() -> None:
    a, b = draw(4, 3, seed=0).requires_grad_(), draw(4, 3, seed=0).requires_grad_()
    ours = LARS([{"params": [a], "adapt": False}], 0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
    theirs = torch.optim.SGD([b], 0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
    for step in range(3):
        a.grad, b.grad = draw(4, 3, seed=step), draw(4, 3, seed=step)
        ours.step()
        theirs.step()
    torch.testing.assert_close(a, b)


def test_the_first_step_is_a_fraction_of_the_norm_however_large_the_gradient() -> None:
    for scale in (1e-6, 1.0, 1e6):
        w = draw(5, 5, seed=0).requires_grad_()
        before = w.detach().clone()
        w.grad = scale * draw(5, 5, seed=1)
        LARS([w], lr=2.0, momentum=0.9, trust_coefficient=0.001).step()
        torch.testing.assert_close((w.detach() - before).norm(), 0.002 * before.norm())


def test_zero_weights_move_and_zero_gradients_do_not_divide_by_zero() -> None:
    w, still = torch.zeros(2, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    w.grad, still.grad = torch.ones(2, 2), torch.zeros(2, 2)
    LARS([w, still], lr=0.5).step()
    assert w.tolist() == [[-0.5, -0.5], [-0.5, -0.5]]
    assert still.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_parameters_without_gradient_are_left_alone_and_the_closure_is_called() -> None:
    w, unused = draw(2, 2, seed=0).requires_grad_(), draw(2, 2, seed=1).requires_grad_()
    optimizer = LARS([w, unused], lr=0.1)

    def closure() -> Tensor:
        loss = (w**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == (draw(2, 2, seed=0) ** 2).sum()
    assert torch.equal(unused, draw(2, 2, seed=1))
    assert not torch.equal(w, draw(2, 2, seed=0))


def test_wrong_settings_are_named() -> None:
    w = torch.zeros(1, requires_grad=True)
    with pytest.raises(InputError, match="lr >= 0, got -1"):
        LARS([w], lr=-1)
    with pytest.raises(InputError, match="momentum > 0"):
        LARS([w], lr=0.1, momentum=0, nesterov=True)
