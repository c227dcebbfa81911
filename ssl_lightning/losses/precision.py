"""Precision of losses: in half precision, softmax and logarithms lose digits that the gradient needs."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Converts half precision to float32; leaves float32 and float64 unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def no_autocast(x: Tensor) -> torch.autocast:
    """A context without autocast on the device of `x`: matrix products keep the precision of their inputs."""
    return torch.autocast(x.device.type, enabled=False)
