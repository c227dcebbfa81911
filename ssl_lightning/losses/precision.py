"""Precision of losses: softmax and logarithms of half-precision logits lose the digits that the gradient lives on."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 stay as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def no_autocast(x: Tensor) -> torch.autocast:
    """Context in which matrix products keep the precision of their inputs, on the device of `x`."""
    return torch.autocast(x.device.type, enabled=False)
