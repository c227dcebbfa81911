"""What every loss does first: in half precision, softmax and logarithms lose digits that the gradient needs."""

import torch
from torch import Tensor

from ssl_lightning.errors import InputError


def at_least_float32(x: Tensor) -> Tensor:
    """Converts half precision to float32; leaves float32 and float64 unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def no_autocast(x: Tensor) -> torch.autocast:
    """A context without autocast on the device of `x`: matrix products keep the precision of their inputs."""
    return torch.autocast(x.device.type, enabled=False)


def refuse_other_shapes(first: Tensor, second: Tensor, axes: int = 2) -> None:
    """Else a loss would broadcast one of them, and be wrong without a word.

    Raises:
        InputError: the shapes differ, or have another number of axes.
    """
    if first.ndim != axes or first.shape != second.shape:
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise InputError(f"the loss compares two tensors of one shape with {axes} axes, got {shapes}")
