"""The outputs of the stages or blocks of a network, averaged over positions."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def watched(parts: list[nn.Module], see: Callable[[nn.Module, Any], None]) -> Iterator[None]:
    """Inside, `see(part, output)` is called after each forward pass of one of `parts`."""
    with ExitStack() as hooks:
        for part in parts:
            hooks.callback(part.register_forward_hook(lambda part, _, output: see(part, output)).remove)
        yield


def stages(network: nn.Module, run: Callable[[], Any]) -> list[nn.Module]:
    """The stages or blocks that `run()` passes, in their order; none in a network without such.

    Those that timm tells of its models, else the first siblings of one class that have parts of their own.
    """
    passed: list[nn.Module] = []
    with watched(list(network.modules()), lambda part, _: passed.append(part)):
        run()
    for part in network.modules():
        told = [part.get_submodule(info["module"]) for info in getattr(part, "feature_info", ()) if info["module"]]
        children = [child for child in part.children() if any(True for _ in child.children())]
        alike = [[child for child in children if type(child) is kind] for kind in dict.fromkeys(map(type, children))]
        for group in (told, *alike):
            if len(group) > 1 and all(stage in passed for stage in group):
                return group
    return []


def pooled(output: Any, batch_size: int, visible: Tensor | None = None, channels_last: bool = False) -> Tensor:
    """(B, C, h, w), (B, N, D), or either of B x T frames -> (B, C) or (B, D), the mean over all positions.

    `visible`: (B, N) bool, which tokens count. `channels_last`: maps are (B, h, w, C).
    """
    h: Tensor = output if isinstance(output, Tensor) else output[0]
    h = h.unflatten(0, (batch_size, -1))  # (B, T, ...)
    if visible is not None:
        weight = visible[:, : h.shape[2]].to(h.dtype)
        return torch.einsum("btnd,bn->bd", h, weight) / weight.sum(dim=1, keepdim=True).clamp(min=1)
    return h.movedim(2 if h.ndim == 5 and not channels_last else -1, 1).flatten(2).mean(dim=2)
