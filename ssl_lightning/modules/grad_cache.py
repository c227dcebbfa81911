"""A large batch through a network piece by piece, with the gradient of the whole.

Gradient caching, Gao et al. 2021, https://arxiv.org/abs/2101.06983, by torch's checkpointing: activations of a chunk
are thrown away after its forward pass, and made again when its gradient is known.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def grad_cached(
    function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor, size: int | None, module: nn.Module
) -> tuple[Tensor, ...]:
    """`function(x)`, computed on `size` rows of x (B, ...) at a time; its results have B rows each.

    The gradient is that of the whole batch, if rows do not depend on each other; the batch statistics of `module`,
    whose buffers are moved by the first pass over a chunk alone, are those of a chunk. A last chunk of one row, which
    has no statistics, is joined to the one before it.
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
    """Inside, buffers may move; afterwards they are as before, the very same tensors."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
