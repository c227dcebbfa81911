"""A large batch through a network in chunks, with the gradient of the whole batch.

Gradient caching (Gao et al. 2021, https://arxiv.org/abs/2101.06983) by torch's checkpointing: a chunk's activations are
discarded after its forward pass and computed again in the backward pass.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def grad_cached(
    function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor, size: int | None, module: nn.Module
) -> tuple[Tensor, ...]:
    """`function(x)` for x (B, ...), computed in chunks of `size` rows; each result has B rows.

    The gradient equals that of the whole batch if rows do not depend on each other. Batch normalization in `module`
    normalizes each chunk by its own statistics, and only the first pass over a chunk updates its buffers. A last chunk
    of one row, which has no variance, joins the chunk before it.
    """
    if size is None or size >= len(x):
        return function(x)
    starts = list(range(0, len(x), size))
    if len(x) - starts[-1] == 1 and len(starts) > 1:
        starts.pop()
    chunks = [x[start:end] for start, end in zip(starts, [*starts[1:], len(x)], strict=True)]

    def contexts() -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
        return contextlib.nullcontext(), _buffers_kept(module)

    if torch.is_grad_enabled():
        parts = [checkpoint(function, chunk, use_reentrant=False, context_fn=contexts) for chunk in chunks]
    else:
        parts = [function(chunk) for chunk in chunks]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


@contextlib.contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Restores the values of the buffers of `module` at the end, in place."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
