"""Teachers: copies of a student whose weights are an exponential moving average (EMA) of the student's."""

import copy

import torch
from torch import nn


def make_teacher(student: nn.Module) -> nn.Module:
    """A copy of `student` that requires no gradient."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def move_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, for all parameters (MoCo, Eq. 2; BYOL, Eq. 1).

    The teacher keeps its own buffers: its batch normalization tracks the batches that the teacher sees.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1.0 - momentum)
