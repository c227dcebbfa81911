"""Muon for the weights of hidden layers, AdamW for everything else, as one optimizer.

Muon orthogonalises the momentum of a weight matrix: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
Its update is scaled to the size of AdamW's, Liu et al. 2025, https://arxiv.org/abs/2502.16982, Eq. 4, so one learning
rate and one weight decay serve both.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from ssl_lightning.errors import InputError


class MuonAdamW(Optimizer):
    """`torch.optim.Muon` on parameter groups with `hidden: True` (as `parameter_groups` makes), AdamW on the others.

    A convolution's weight (O, I, h, w) is the matrix (O, I*h*w), in any memory format. `torch.optim.Muon` computes in
    bfloat16 on every device, which is slow on CPUs without bfloat16 instructions.

    All state is in this optimizer, in plain tensors and numbers; the two engines are made anew each step and write
    into it. So schedulers, checkpoints (`weights_only=True`) and moved weights need nothing special.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise InputError(f"MuonAdamW needs torch 2.9 or newer, this is {torch.__version__}: use optimizer=adamw")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "betas": tuple(betas),
            "eps": eps,
            "hidden": False,
        }
        super().__init__(params, defaults)
        if not any(group["hidden"] for group in self.param_groups):
            raise InputError("MuonAdamW got no weight of a hidden layer: pass parameter_groups(module), or use adamw")
        for group in self.param_groups:
            flat = [tuple(p.shape) for p in group["params"] if group["hidden"] and p.ndim < 2]
            if flat:
                raise InputError(f"Muon orthogonalises matrices, a group with hidden: True holds the shape {flat[0]}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                (self._step_muon if group["hidden"] else self._step_adamw)(params, group)
        return loss

    def _step_muon(self, params: list[Tensor], group: dict[str, Any]) -> None:
        matrices = [_matrix(p) for p in params]
        engine = torch.optim.Muon(
            matrices,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            adjust_lr_fn="match_rms_adamw",
        )
        for p, matrix in zip(params, matrices, strict=True):
            engine.state[matrix] = self.state[p]
        engine.step()
        for p, matrix in zip(params, matrices, strict=True):
            if matrix.data_ptr() != p.data_ptr():
                p.copy_(matrix.view_as(p))

    def _step_adamw(self, params: list[Tensor], group: dict[str, Any]) -> None:
        engine = AdamW(
            params, lr=group["lr"], betas=group["betas"], eps=group["eps"], weight_decay=group["weight_decay"]
        )
        engine.state = self.state
        engine.step()


def _matrix(p: Tensor) -> Tensor:
    """`p` (O, ...) and its gradient as (O, I) matrices: views where the memory format allows, else copies."""
    assert p.grad is not None
    matrix = p.detach().flatten(1)
    matrix.grad = p.grad.flatten(1)
    return matrix
