"""Teachers: copies of a student whose weights are an exponential moving average (EMA) of the student's."""

import copy

import torch
from torch import nn

from ssl_lightning.errors import InputError


def make_teacher(student: nn.Module) -> nn.Module:
    """A copy of `student` that requires no gradient."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def move_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, for all parameters (MoCo, Eq. 2; BYOL, Eq. 1).

    The teacher keeps its own buffers: its batch normalization tracks the batches that the teacher sees.

    Raises:
        InputError: weights of 16 bits, in which a step of 1 - momentum rounds to none.
    """
    if next(teacher.parameters()).element_size() < 4:
        raise InputError("a teacher of 16-bit weights would never move: use precision=bf16-mixed, or 32-true")
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1.0 - momentum)
