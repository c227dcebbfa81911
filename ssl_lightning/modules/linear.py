"""Matrix products of linear layers by oneDNN, on CPUs where the other library at hand, MKL, is slow.

On CPUs that are not Intel's MKL leaves AVX-512 aside: on an AMD EPYC its float32 products reach half the rate of
oneDNN's. torch asks oneDNN for convolutions, and a linear layer is one, of size 1 x 1.
"""

import functools
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@functools.cache
def mkl_is_slow() -> bool:
    """Whether this is a CPU of another maker than Intel, and torch has both libraries."""
    try:
        cpu = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    other = "vendor_id" in cpu and "GenuineIntel" not in cpu
    return other and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, (..., K) -> (..., N), as a convolution where that is the faster one."""
    suits = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    if not suits or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    image = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # (1, K, M, 1), channels last
    y = F.conv2d(image, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])


class OneDNNLinear(nn.Linear):
    """A linear layer, with the same weights by the same names, whose product is `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def use_onednn(module: nn.Module) -> None:
    """Lets the plain linear layers inside `module` compute by oneDNN where MKL is slow; nothing else changes."""
    if mkl_is_slow():
        for child in module.modules():
            if type(child) is nn.Linear:
                child.__class__ = OneDNNLinear
