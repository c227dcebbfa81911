"""LARS: SGD whose step, for each layer, is a fixed fraction of the layer's norm, so that large batches train.

You et al. 2017, https://arxiv.org/abs/1708.03888. The learning rate multiplies the momentum buffer when it is applied,
as in `torch.optim.SGD`; in the paper's Algorithm 1 it enters the buffer (the same while the rate is constant).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ssl_lightning.errors import InputError


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling.

    For each tensor w with gradient g: d = (g + weight_decay w) * trust_coefficient |w| / (|g| + weight_decay |w|), then
    momentum SGD with d. The factor is 1 where |w| or |g| is 0. A parameter group with `adapt: False` (biases, norms)
    has the factor 1 throughout: plain SGD.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        nesterov: bool = False,
    ) -> None:
        for name, value in (
            ("lr", lr),
            ("momentum", momentum),
            ("weight_decay", weight_decay),
            ("trust_coefficient", trust_coefficient),
        ):
            if not value >= 0:
                raise InputError(f"LARS needs {name} >= 0, got {value}")
        if nesterov and momentum == 0:
            raise InputError("LARS with nesterov needs momentum > 0")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "nesterov": nesterov,
            "adapt": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                torch._foreach_add_(params, self._direction(params, group), alpha=-group["lr"])
        return loss

    def _direction(self, params: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        gradients = [p.grad for p in params if p.grad is not None]
        direction = list(torch._foreach_add(gradients, params, alpha=group["weight_decay"]))
        if group["adapt"]:
            ratios = _trust_ratios(params, gradients, group["weight_decay"], group["trust_coefficient"])
            torch._foreach_mul_(direction, ratios)
        if group["momentum"] == 0:
            return direction
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, direction)
        return list(torch._foreach_add(direction, buffers, alpha=group["momentum"])) if group["nesterov"] else buffers


def _trust_ratios(
    params: list[Tensor], gradients: list[Tensor], weight_decay: float, coefficient: float
) -> list[Tensor]:
    """The local rate of Eq. 6 for each tensor, on its device: no value is fetched to the host."""
    w = torch.stack(torch._foreach_norm(params))
    g = torch.stack(torch._foreach_norm(gradients))
    ratios = torch.where((w > 0) & (g > 0), coefficient * w / (g + weight_decay * w), 1.0)
    return list(ratios.unbind())
