import copy

import pytest
import torch
from torch import nn

from ssl_lightning.modules import linear as module
from ssl_lightning.modules.linear import OneDNNLinear, linear, use_onednn


@pytest.mark.parametrize("shape", [(7, 5), (2, 7, 5), (1, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_linear_layer(shape: tuple[int, ...], bias: bool) -> None:
    layer, x = nn.Linear(5, 3, bias=bias), torch.randn(shape)
    fast = copy.deepcopy(layer)
    fast.__class__ = OneDNNLinear
    results = []
    for net in (layer, fast):
        y = x.clone().requires_grad_()
        net(y).pow(2).sum().backward()
        results.append([net(x), y.grad, *(p.grad for p in net.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("x", [torch.randn(2, 5, dtype=torch.float64), torch.randn(0, 5)])
def test_what_it_does_not_suit(x: torch.Tensor) -> None:
    weight = torch.randn(3, 5, dtype=x.dtype)
    assert torch.equal(linear(x, weight), x @ weight.T)


def test_columns_that_are_not_contiguous() -> None:
    x, weight = torch.randn(5, 7).T, torch.randn(5, 3).T
    torch.testing.assert_close(linear(x, weight), x @ weight.T)


def test_autocast_stays_in_force() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(torch.randn(2, 5), torch.randn(3, 5)).dtype == torch.bfloat16


@pytest.mark.parametrize("slow", [True, False])
def test_only_plain_layers_change_and_only_where_mkl_is_slow(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "mkl_is_slow", lambda: slow)
    net = nn.Sequential(nn.Linear(5, 5), nn.Bilinear(5, 5, 5), nn.Sequential(nn.Linear(5, 2)))
    names = list(net.state_dict())
    use_onednn(net)
    assert [type(m) is OneDNNLinear for m in (net[0], net[1], net[2][0])] == [slow, False, slow]
    assert isinstance(net[0], nn.Linear)
    assert list(net.state_dict()) == names
