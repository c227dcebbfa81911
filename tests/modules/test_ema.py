import pytest
import torch
from torch import nn

from ssl_lightning.modules.ema import make_teacher, move_teacher


def student() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()


def fill(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(value)


def test_begins_as_a_copy_of_its_own() -> None:
    net = student()
    teacher = make_teacher(net)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    fill(net, 7.0)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())
    assert not any(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99, 1.0])
def test_closed_form(momentum: float) -> None:
    """A student that stays at 1 draws a teacher that began at 0 to 1 - momentum^n."""
    net = student()
    fill(net, 0.0)
    teacher = make_teacher(net)
    fill(net, 1.0)
    for step in range(1, 6):
        move_teacher(teacher, net, momentum)
        for p in teacher.parameters():
            torch.testing.assert_close(p, torch.full_like(p, 1 - momentum**step), atol=1e-12, rtol=0)
    assert all((p == 1).all() for p in net.parameters())


def test_buffers_stay_the_teachers() -> None:
    net = student()
    teacher = make_teacher(net)
    net(torch.randn(8, 3, dtype=torch.float64))
    before = {name: value.clone() for name, value in teacher.named_buffers()}
    move_teacher(teacher, net, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in teacher.named_buffers())
    assert teacher[1].num_batches_tracked == 0


def test_no_gradient() -> None:
    net = student()
    teacher = make_teacher(net)
    net(torch.randn(8, 3, dtype=torch.float64)).sum().backward()
    move_teacher(teacher, net, 0.5)
    assert all(p.grad is None and p.grad_fn is None for p in teacher.parameters())
