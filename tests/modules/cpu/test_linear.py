import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ssl_lightning.modules.cpu.linear as module
from ssl_lightning.hardware import onednn_is_there
from ssl_lightning.modules.cpu.linear import OneDNNLinear, by_onednn, linear, use_onednn

needs_onednn = pytest.mark.skipif(not onednn_is_there(), reason="torch has no oneDNN here")


@needs_onednn
@pytest.mark.parametrize("shape", [(7, 5), (2, 7, 5), (1, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out", [3, 8])
def test_product_and_gradients_are_those_of_torch(shape: tuple[int, ...], bias: bool, out: int) -> None:
    inputs = [torch.randn(shape), torch.randn(out, 5), torch.randn(out) if bias else None]
    results = []
    for function in (F.linear, by_onednn):
        x, w, b = (None if t is None else t.clone().requires_grad_() for t in inputs)
        y = function(x, w, b)
        y.pow(2).sum().backward()
        results.append([y, x.grad, w.grad, *([b.grad] if bias else [])])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@needs_onednn
def test_transposed_and_expanded_inputs() -> None:
    x, weight = torch.randn(5, 7).T.requires_grad_(), torch.randn(5, 3).T
    torch.testing.assert_close(by_onednn(x, weight), x @ weight.T)
    by_onednn(x, weight).sum().backward()  # the gradient of a sum is a single number, expanded
    torch.testing.assert_close(x.grad, weight.sum(0).expand(7, 5))


@needs_onednn
def test_no_gradient_where_none_is_wanted() -> None:
    x, weight = torch.randn(4, 5), torch.randn(3, 5, requires_grad=True)
    by_onednn(x, weight).sum().backward()
    assert x.grad is None
    assert not by_onednn(x, weight.detach()).requires_grad


@pytest.mark.parametrize("x", [torch.randn(2, 5, dtype=torch.float64), torch.randn(0, 5)])
def test_what_it_does_not_suit(x: torch.Tensor) -> None:
    weight = torch.randn(3, 5, dtype=x.dtype)
    assert torch.equal(linear(x, weight), x @ weight.T)


def test_autocast_stays_in_force() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(torch.randn(2, 5), torch.randn(3, 5)).dtype == torch.bfloat16


@pytest.mark.parametrize("slow", [True, False])
def test_only_plain_layers_change_and_only_where_mkl_is_slow(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "prefers_onednn", lambda: slow)
    net = nn.Sequential(nn.Linear(5, 5), nn.Bilinear(5, 5, 5), nn.Sequential(nn.Linear(5, 2)))
    names = list(net.state_dict())
    use_onednn(net)
    assert [type(m) is OneDNNLinear for m in (net[0], net[1], net[2][0])] == [slow, False, slow]
    assert isinstance(net[0], nn.Linear)
    assert list(net.state_dict()) == names
