"""Muon for the weights of hidden layers, AdamW for everything else, as one optimizer.

Muon orthogonalizes the momentum of a weight matrix: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
Its update is scaled to the size of AdamW's, Liu et al. 2025, https://arxiv.org/abs/2502.16982, Eq. 4, so one learning
rate and one weight decay serve both.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from ssl_lightning.errors import InputError
from ssl_lightning.hardware import cpu_has_bfloat16
from ssl_lightning.ranges import Fraction, NonNegativeFloat

POLYNOMIALS = ((7.7110, -22.1138, 16.2487), (3.2025, -2.3615, 0.4818))
"""Coefficients (a, b, c) of two odd quintics a x + b x^3 + c x^5. One after the other, they map singular values
in [0.02, 1] into [0.48, 1.52]. Each is the optimal polynomial on the range of the one before, widened by the 1 % that
bfloat16 rounds (Polar Express, Amsel et al. 2025, https://arxiv.org/abs/2505.16932, Algorithm 1)."""


def orthogonalize(matrices: Tensor) -> Tensor:
    """For each matrix of (L, m, n), approximately the nearest matrix with orthonormal rows or columns.

    Computes in bfloat16 where the device has it natively, otherwise in float32 (`torch.optim.Muon` always uses
    bfloat16). Jordan et al. scale the squared singular values to the sum 1 and take five steps. Scaling the fourth
    powers to the sum 1 brings the largest singular value closer to 1, so that two steps are enough.
    """
    dtype = torch.promote_types(matrices.dtype, torch.float32)
    if dtype == torch.float32 and (matrices.is_cuda or (matrices.device.type == "cpu" and cpu_has_bfloat16())):
        dtype = torch.bfloat16
    tall = matrices.shape[1] > matrices.shape[2]  # take the smaller of the two Gram matrices
    x = matrices.mT if tall else matrices
    x = (x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)).to(dtype)
    gram = x @ x.mT
    fourth_powers = torch.linalg.matrix_norm(gram, keepdim=True).clamp(min=1e-7)
    x, gram = x / fourth_powers.sqrt(), gram / fourth_powers
    for step, (a, b, c) in enumerate(POLYNOMIALS):
        if step > 0:
            gram = x @ x.mT
        # a x + (b G + c G^2) x with G = x x^T
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class MuonAdamW(Optimizer):
    """Muon on the parameter groups with `hidden: True` (see `parameter_groups`), AdamW on the others.

    A convolution's weight (O, I, h, w) counts as the matrix (O, I*h*w), in any memory format. Matrices of equal shape
    are orthogonalized together. The update is that of `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`.

    All state is held in this optimizer as plain tensors and numbers, so schedulers, checkpoints (`weights_only=True`)
    and moves between devices work as usual.

    Raises:
        InputError: no group is hidden, or a hidden group holds a tensor with fewer than two axes.
    """

    def __init__(
        self,
        params: Any,
        lr: NonNegativeFloat = 1e-3,
        weight_decay: NonNegativeFloat = 0.1,
        momentum: Fraction = 0.95,
        betas: tuple[Fraction, Fraction] = (0.9, 0.95),
        eps: NonNegativeFloat = 1e-8,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "betas": tuple(betas),
            "eps": eps,
            "hidden": False,
        }
        super().__init__(params, defaults)
        self._engines: dict[Tensor, AdamW] = {}
        if not any(group["hidden"] for group in self.param_groups):
            raise InputError("MuonAdamW got no weight of a hidden layer: pass parameter_groups(module), or use adamw")
        for group in self.param_groups:
            flat = [tuple(p.shape) for p in group["params"] if group["hidden"] and p.ndim < 2]
            if flat:
                raise InputError(f"Muon orthogonalizes matrices, a group with hidden: True holds the shape {flat[0]}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["hidden"]:
                self._step_muon([p for p in group["params"] if p.grad is not None], group)
            else:
                self._step_adamw(group["params"], group)
        return loss

    def _step_muon(self, params: list[Tensor], group: dict[str, Any]) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, buffers, group["momentum"])  # Nesterov momentum
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, update in enumerate(updates):
            by_shape.setdefault(tuple(update.shape), []).append(index)
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        for shape, indices in by_shape.items():
            stacked = orthogonalize(torch.stack([updates[i].flatten(1) for i in indices]))
            rate = 0.2 * group["lr"] * max(stacked.shape[1:]) ** 0.5
            moved = [matrix.view(shape) for matrix in stacked.unbind()]
            torch._foreach_add_([params[i] for i in indices], moved, alpha=-rate)

    def _step_adamw(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """torch's AdamW, built once per group: building it takes as long as ten steps of a small model."""
        first = params[0]
        if first not in self._engines:
            self._engines[first] = AdamW(params, fused=True)
        engine = self._engines[first]
        engine.state = self.state
        engine.param_groups[0].update({key: group[key] for key in ("lr", "betas", "eps", "weight_decay")})
        engine.step()
