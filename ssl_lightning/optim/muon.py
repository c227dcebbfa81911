"""Muon for the weights of hidden layers, AdamW for everything else, as one optimizer.

Muon orthogonalizes the momentum of a weight matrix: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
Its update is scaled to the size of AdamW's, Liu et al. 2025, https://arxiv.org/abs/2502.16982, Eq. 4, so one learning
rate and one weight decay serve both.
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor
from torch.optim import AdamW

from ssl_lightning.errors import InputError
from ssl_lightning.hardware import cpu_has_bfloat16
from ssl_lightning.ranges import Fraction, NonNegativeFloat

POLYNOMIALS = (
    (8.20516, -22.90193, 16.46072),
    (4.06640, -2.86115, 0.51840),
    (3.90959, -2.82335, 0.52504),
    (3.28556, -2.41530, 0.48529),
    (2.27787, -1.61982, 0.39848),
)
"""Coefficients (a, b, c) of odd quintics a x + b x^3 + c x^5: Polar Express, Amsel et al. 2025,
https://arxiv.org/abs/2505.16932, Algorithm 1. Each is the best one on the range to which those before it map
[0.001, 1], widened by 1 % for what bfloat16 rounds. All five map [0.001, 1] into [0.84, 1.13];
two map 0.01 to 0.33."""


def orthogonalize(matrices: Tensor, steps: int = len(POLYNOMIALS)) -> Tensor:
    """For each matrix of (L, m, n), approximately the nearest matrix with orthonormal rows or columns.

    Computes in bfloat16 where the device has it natively, otherwise in float32 (`torch.optim.Muon` always uses
    bfloat16). Others scale the squared singular values to the sum 1, which is safe but leaves them small. Scaling the
    fourth powers to the sum 1 is as safe and brings the largest one closer to 1.
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
    for step, (a, b, c) in enumerate(POLYNOMIALS[:steps]):
        if step > 0:
            gram = x @ x.mT
        # a x + (b G + c G^2) x with G = x x^T
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class MuonAdamW(AdamW):
    """Muon on the parameter groups with `hidden: True` (see `parameter_groups`), AdamW on the others.

    A convolution's weight (O, I, h, w) counts as the matrix (O, I*h*w), in any memory format. Matrices of equal shape
    are orthogonalized together. But for the polynomials the update is that of `torch.optim.Muon` with
    `adjust_lr_fn="match_rms_adamw"`.

    All state is held in this optimizer as plain tensors and numbers, so schedulers, checkpoints (`weights_only=True`)
    and moves between devices work as usual.

    Args:
        steps: how many of the `POLYNOMIALS` are taken. The singular values of a momentum fall over several orders of
            magnitude; fewer steps cost less time and leave most of them small.

    Raises:
        InputError: no group is hidden.
    """

    def __init__(
        self,
        params: Any,
        lr: NonNegativeFloat = 1e-3,
        weight_decay: NonNegativeFloat = 0.1,
        momentum: Fraction = 0.95,
        betas: tuple[Fraction, Fraction] = (0.9, 0.95),
        eps: NonNegativeFloat = 1e-8,
        steps: Annotated[int, Interval(ge=1, le=len(POLYNOMIALS))] = len(POLYNOMIALS),
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, fused=True)
        self._step_supports_amp_scaling = False  # Muon's part does not divide by the scale of float16
        for group in self.param_groups:
            group.update(momentum=momentum, steps=steps, hidden=group.get("hidden", False))
        if not any(group["hidden"] for group in self.param_groups):
            raise InputError("MuonAdamW got no weight of a hidden layer: pass parameter_groups(module), or use adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        with torch.enable_grad():  # before the groups part: the closure of Lightning zeroes the gradients of all
            loss = None if closure is None else closure()
        every = self.param_groups
        self.param_groups = [group for group in every if not group["hidden"]]
        try:
            super().step()
        finally:
            self.param_groups = every
        for group in every:
            if group["hidden"]:
                self._step_muon([p for p in group["params"] if p.grad is not None], group)
        return loss

    def _step_muon(self, params: list[Tensor], group: dict[str, Any]) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        for p in params:
            if not self.state[p]:
                # of `step` Adam's `load_state_dict` makes sure for every weight
                self.state[p].update(step=torch.zeros(()), momentum_buffer=torch.zeros_like(p))
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, buffers, group["momentum"])  # Nesterov momentum
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, update in enumerate(updates):
            by_shape.setdefault(tuple(update.shape), []).append(index)
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        for shape, indices in by_shape.items():
            stacked = orthogonalize(torch.stack([updates[i].flatten(1) for i in indices]), group["steps"])
            rate = 0.2 * group["lr"] * max(stacked.shape[1:]) ** 0.5
            moved = [matrix.view(shape) for matrix in stacked.unbind()]
            torch._foreach_add_([params[i] for i in indices], moved, alpha=-rate)
