"""What the decorator of every loss does to its tensors."""

import pytest
import torch
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.losses.precision import in_float32


@in_float32(same=2)
def product(views: list[Tensor], label: Tensor, scale: float = 1.0, *, weight: Tensor | None = None) -> Tensor:
    assert label.dtype == torch.int64
    assert weight is None or weight.dtype == torch.float32
    return scale * views[0] @ views[1].T


def test_half_precision_is_lifted_and_autocast_is_off() -> None:
    views, label = [torch.full((2, 3), 1 + 2**-7, dtype=torch.bfloat16, requires_grad=True)] * 2, torch.arange(2)
    with torch.autocast("cpu", torch.bfloat16):
        found = product(views, label, scale=2.0, weight=torch.ones(2, dtype=torch.float16))
        assert (views[0] @ views[1].T).dtype == torch.bfloat16
    assert torch.equal(found, torch.full((2, 2), 6 * (1 + 2**-7) ** 2))  # which bfloat16 would round
    found.sum().backward()
    assert views[0].grad is not None
    assert product([view.double() for view in views], label).dtype == torch.float64


def test_other_shapes_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"product compares tensors of one shape with 2 axes, got \(2, 3\) and \(1, 3\)"
    ):
        product([torch.ones(2, 3), torch.ones(1, 3)], torch.arange(2))


def test_another_number_of_axes_is_refused() -> None:
    flat = in_float32(same=2, axes=2)(torch.dot)
    with pytest.raises(InputError, match=r"dot compares tensors of one shape with 2 axes, got \(3,\) and \(3,\)"):
        flat(torch.ones(3), torch.ones(3))
