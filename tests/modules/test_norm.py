import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.image import ConvNet, resnet, timm_model
from ssl_lightning.modules.norm import SplitBatchNorm, split_batch_norm

SHAPES = {nn.BatchNorm2d: (12, 5, 3, 3), nn.BatchNorm1d: (12, 5)}


def make(kind: type[_BatchNorm] = nn.BatchNorm2d, affine: bool = True) -> _BatchNorm:
    """With weights, biases and running statistics that are all different."""
    norm = kind(5, momentum=0.3, eps=1e-3, affine=affine, dtype=torch.float64)
    with torch.no_grad():
        for tensor in norm.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return norm


def sample(kind: type[_BatchNorm] = nn.BatchNorm2d) -> Tensor:
    return (3 * torch.randn(SHAPES[kind], dtype=torch.float64) + 1).requires_grad_()


@pytest.mark.parametrize("splits", [1, 2, 3, 6])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", list(SHAPES))
def test_is_batch_norm_on_each_group(kind: type[_BatchNorm], affine: bool, splits: int) -> None:
    whole = make(kind, affine)
    split = SplitBatchNorm(copy.deepcopy(whole), splits)
    devices = [copy.deepcopy(whole) for _ in range(splits)]
    x = sample(kind)
    again = x.detach().clone().requires_grad_()
    weight = torch.randn_like(x)
    found = split(x)
    expected = torch.cat([norm(group) for norm, group in zip(devices, again.chunk(splits), strict=True)])
    torch.testing.assert_close(found, expected)

    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, again.grad)
    for name, p in split.named_parameters():
        torch.testing.assert_close(p.grad, sum(norm.get_parameter(name).grad for norm in devices))
    for name in ("running_mean", "running_var"):
        mean = torch.stack([norm.get_buffer(name) for norm in devices]).mean(0)
        torch.testing.assert_close(split.get_buffer(name), mean)
    assert split.num_batches_tracked == 1


def test_groups_are_apart() -> None:
    """What a group holds changes the output of no other group."""
    norm = SplitBatchNorm(make(), 3)
    x = sample().detach()
    other = x.clone()
    other[4:8] *= 5
    before, after = norm(x), norm(other)
    assert torch.equal(before[:4], after[:4])
    assert torch.equal(before[8:], after[8:])


def test_is_batch_norm_in_evaluation() -> None:
    whole = make().eval()
    split = SplitBatchNorm(copy.deepcopy(whole), 3).eval()
    x = sample()[:7]
    before = {name: value.clone() for name, value in split.state_dict().items()}
    torch.testing.assert_close(split(x), whole(x), rtol=0, atol=0)
    assert all(torch.equal(value, before[name]) for name, value in split.state_dict().items())


@pytest.mark.parametrize("affine", [True, False])
def test_state_dicts_fit_both_ways(affine: bool) -> None:
    whole = make(affine=affine)
    split = SplitBatchNorm(make(affine=affine), 3)
    assert list(split.state_dict()) == list(whole.state_dict())
    split.load_state_dict(whole.state_dict())
    whole.load_state_dict(split.state_dict())


@pytest.mark.parametrize("B", [4, 7, 0])
def test_refuses_batches_that_do_not_divide(B: int) -> None:
    norm = SplitBatchNorm(make(), 4)
    with pytest.raises(InputError, match=rf"batch of {B} does not divide into 4 groups of two"):
        norm(torch.zeros(B, 5, 2, 2, dtype=torch.float64))


def test_keeps_channels_last() -> None:
    norm = SplitBatchNorm(nn.BatchNorm2d(4), 2)
    x = torch.randn(4, 4, 3, 3).to(memory_format=torch.channels_last)
    assert norm(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("make_net", [lambda: ConvNet(1, 4, 3), lambda: resnet("resnet18"), lambda: nn.BatchNorm2d(3)])
def test_replaces_all(make_net) -> None:
    net = make_net()
    count = sum(isinstance(module, _BatchNorm) for module in net.modules())
    names = list(net.state_dict())
    parameters = {id(p) for p in net.parameters()}
    split = split_batch_norm(net, 4)
    assert not any(isinstance(module, _BatchNorm) for module in split.modules())
    assert sum(isinstance(module, SplitBatchNorm) and module.splits == 4 for module in split.modules()) == count
    assert list(split.state_dict()) == names
    assert {id(p) for p in split.parameters()} == parameters


def test_refuses_a_batch_norm_that_does_more() -> None:
    with pytest.raises(InputError, match=r"BatchNormAct2d does more than .* use method.bn_splits=1"):
        split_batch_norm(timm_model("test_efficientnet"), 2)
