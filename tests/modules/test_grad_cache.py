import pytest
import torch
from torch import Tensor, nn

from ssl_lightning.modules.grad_cache import grad_cached

B = 12


def network(norm: bool = False) -> nn.Module:
    layers = [nn.Linear(6, 64), nn.BatchNorm1d(64) if norm else nn.Identity(), nn.ReLU(inplace=True), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.Linear(64, 3)).double()


def gradient(net: nn.Module, x: Tensor, size: int | None) -> tuple[Tensor, Tensor, int]:
    """A loss that compares all rows, the gradient of the weights, and the bytes kept for the backward pass."""
    kept: dict[int, int] = {}

    def keep(t: Tensor) -> Tensor:
        if not isinstance(t, nn.Parameter):
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        (z,) = grad_cached(lambda x: (net(x),), x, size, net)
        loss = (z @ z.T).logsumexp(dim=1).mean()
    net.zero_grad()
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in net.parameters()]), sum(kept.values())


@pytest.mark.parametrize("size", [2, 4, 5, 11, B, 99])
def test_the_gradient_is_that_of_the_whole_batch(size: int) -> None:
    net, x = network().eval(), torch.randn(B, 6, dtype=torch.float64)
    expected, found = gradient(net, x, None), gradient(net, x, size)
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-12)


def test_activations_are_those_of_no_chunk_until_the_backward_pass() -> None:
    net, x = network(), torch.randn(B, 6, dtype=torch.float64)
    whole, chunked = (gradient(net, x, size)[2] for size in (None, 3))
    assert whole - chunked > 0.9 * B * 64 * 8  # at least the hidden layer


def test_dropout_drops_the_same_when_it_is_computed_again() -> None:
    """Else the gradient of a loss would be that of another: the gradient of a step is its finite difference."""
    net, x = network(), torch.randn(B, 6, dtype=torch.float64)
    loss, gradients, _ = gradient(net, x, 4)
    torch.manual_seed(5)
    before = gradient(net, x, 4)
    with torch.no_grad():
        net[4].bias[0] += 1e-6
    torch.manual_seed(5)
    after = gradient(net, x, 4)
    assert float(after[0] - before[0]) / 1e-6 == pytest.approx(float(before[1][-3]), rel=1e-4)
    assert loss.isfinite()
    assert gradients.isfinite().all()


def test_batch_statistics_are_those_of_chunks_and_move_once_for_each() -> None:
    net, x = network(norm=True), torch.randn(B, 6, dtype=torch.float64)
    other = network(norm=True)
    other.load_state_dict(net.state_dict())
    torch.manual_seed(1)
    gradient(net, x, 4)
    torch.manual_seed(1)
    for chunk in x.split(4):
        other(chunk)
    for (name, found), expected in zip(net.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(found, expected), name
    assert int(net[1].num_batches_tracked) == 3


def test_a_last_row_alone_is_joined_to_the_chunk_before() -> None:
    net, x = network(norm=True), torch.randn(9, 6, dtype=torch.float64)
    gradient(net, x, 4)
    assert int(net[1].num_batches_tracked) == 2


def test_without_gradient() -> None:
    net, x = network().eval(), torch.randn(B, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(grad_cached(lambda x: (net(x),), x, 5, net)[0], net(x))
