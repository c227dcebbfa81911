"""What every loss does first: in half precision, softmax and logarithms lose digits that the gradient needs."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from ssl_lightning.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")


def at_least_float32(x: Tensor) -> Tensor:
    """Converts half precision to float32; leaves float32 and float64 unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def no_autocast(x: Tensor) -> torch.autocast:
    """A context without autocast on the device of `x`: matrix products keep the precision of their inputs."""
    return torch.autocast(x.device.type, enabled=False)


def in_float32(same: int = 0, axes: int | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a loss: its tensors come in float32 or better, without autocast, and the first `same` in one shape
    with `axes` axes, or any number of them.

    Raises:
        InputError: the shapes differ, or have another number of axes. The loss would broadcast a tensor, and be wrong
            without a word.
    """

    def decorated(loss: Callable[P, R]) -> Callable[P, R]:
        @wraps(loss)
        def computed(*args: P.args, **kwargs: P.kwargs) -> R:
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            shapes = [tuple(x.shape) for x in tensors[:same]]
            wanted = len(shapes[0]) if shapes and axes is None else axes
            if len(set(shapes)) > 1 or any(len(shape) != wanted for shape in shapes):
                got = " and ".join(map(str, shapes))
                raise InputError(f"{loss.__name__} compares tensors of one shape with {wanted} axes, got {got}")
            args, kwargs = tree_map_only(Tensor, at_least_float32, (args, kwargs))
            with no_autocast(tensors[0]):
                return loss(*args, **kwargs)

        return computed

    return decorated
