"""Linear layers whose products oneDNN makes, on CPUs where the other library at hand, MKL, is slow."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ssl_lightning.hardware import prefers_onednn, product


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, (..., K) -> (..., N), by oneDNN if it is float32 on a CPU where that is faster."""
    if torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    suits = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    if not suits or not prefers_onednn() or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    return by_onednn(x, weight, bias)


def by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., K), (N, K), (N,) -> (..., N), of float32 on the CPU, none of them empty."""
    return _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    """x (M, K) times weight (N, K) transposed, plus bias (N,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            product(g, weight.T) if for_x else None,
            _of_weight(g, x) if for_weight else None,
            g.sum(dim=0) if for_bias else None,
        )


def _of_weight(g: Tensor, x: Tensor) -> Tensor:
    """g^T x. The operator copies its first factor where that is transposed, so that is the smaller one."""
    return product(g.T, x.T) if g.shape[1] <= x.shape[1] else product(x.T, g.T).T


class OneDNNLinear(nn.Linear):
    """A linear layer, with the same weights by the same names, whose product is `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def use_onednn(module: nn.Module) -> None:
    """Lets the plain linear layers inside `module` compute by oneDNN where MKL is slow; nothing else changes."""
    if prefers_onednn():
        for child in module.modules():
            if type(child) is nn.Linear:
                child.__class__ = OneDNNLinear
