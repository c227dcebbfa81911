"""A large batch through a network in chunks, with the gradient of the whole batch.

Gradient caching (Gao et al. 2021, https://arxiv.org/abs/2101.06983) by torch's checkpointing: a chunk's activations are
discarded after its forward pass and computed again in the backward pass.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

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
    chunks = list(x.split(size))
    if len(chunks[-1]) == 1:
        chunks[-2:] = [x[-size - 1 :]]
    cached = partial(
        checkpoint, function, use_reentrant=False, context_fn=lambda: (nullcontext(), _buffers_kept(module))
    )
    return tuple(torch.cat(part) for part in zip(*map(cached, chunks), strict=True))


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Restores the values of the buffers of `module` at the end, in place."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
