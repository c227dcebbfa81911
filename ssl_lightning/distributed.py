"""What ranks exchange: the only file that talks to `torch.distributed`. Without a process group all is the identity.

Data-parallel training averages the gradients of all ranks. So the right gradient comes from: gather with gradient,
then the mean over the anchors of this rank (or the full loss on every rank). Never multiply by the world size.
"""

import contextlib
import functools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import fsdp

from ssl_lightning.errors import InputError

_MAX_AXES = 8


def _active() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process among all, from 0."""
    return dist.get_rank() if _active() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if _active() else 1


@functools.lru_cache(maxsize=1)
def _gloo_beside(group: Any) -> Any:
    return dist.new_group(backend="gloo")


def _host_group() -> Any:
    """A group for host tensors: beside NCCL a gloo group, so that comparing shapes never waits for the GPU."""
    return None if dist.get_backend() == "gloo" else _gloo_beside(dist.group.WORLD)


def _shapes(x: Tensor) -> list[tuple[int, ...]]:
    """The shape of `x` on every rank."""
    shape = torch.full((_MAX_AXES,), -1)
    shape[: x.ndim] = torch.tensor(x.shape)
    shapes = [torch.empty_like(shape) for _ in range(world_size())]
    dist.all_gather(shapes, shape, group=_host_group())
    return [tuple(n for n in s.tolist() if n >= 0) for s in shapes]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]


def gather(x: Tensor) -> Tensor:
    """Rows of all ranks in the order of the ranks, (b, ...) -> (W*b, ...), with gradient.

    The backward pass sums the gradients that all ranks have for this rank's rows. Every rank must hold the same shape;
    otherwise every rank raises InputError (and none waits for ever).
    """
    if world_size() == 1:
        return x
    shapes = _shapes(x)
    if len(set(shapes)) > 1:
        raise InputError(
            f"ranks hold batches of different shapes, {shapes}: drop the incomplete last batch (drop_last=True)"
        )
    return _Gather.apply(x)


@torch.no_grad()
def gather_variable_length(x: Tensor) -> Tensor:
    """Rows of all ranks in the order of the ranks, (n_rank, ...) -> (sum of n_rank, ...), without gradient.

    For evaluation: the number of rows may differ by rank and be 0; the other axes must agree (InputError).
    """
    if world_size() == 1:
        return x.detach()
    shapes = _shapes(x)
    if len({shape[1:] for shape in shapes}) > 1:
        raise InputError(f"ranks hold samples of different shapes, {shapes}: only the number of samples may differ")
    lengths = [shape[0] for shape in shapes]
    padded = x.new_zeros(max(lengths), *x.shape[1:])
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def mean_over_ranks(x: Tensor) -> Tensor:
    """Mean of a floating-point tensor over ranks, any shape, the same bits on every rank, with gradient."""
    return x if world_size() == 1 else gather(x[None]).mean(dim=0)


def largest(value: int) -> int:
    """The largest `value` of all ranks, on all of them, which must all ask; it does not wait for the GPU."""
    if world_size() == 1:
        return value
    found = torch.tensor(value)
    dist.all_reduce(found, dist.ReduceOp.MAX, group=_host_group())
    return int(found)


def wait_for_all() -> None:
    """Until all ranks are here, however long one of them takes; without torch's usual limit of half an hour."""
    if world_size() > 1:
        group: Any = dist.new_group(backend="gloo", timeout=timedelta(days=365))
        dist.barrier(group=group)
        dist.destroy_process_group(group)


def shard(module: nn.Module, mesh: Any, *entries: str) -> None:
    """Splits weights, gradients and optimizer state of `module` among the ranks of `mesh`, in place (FSDP2).

    Each child that is called as a module holds its whole weights only while it computes; all other weights are whole
    while one of the methods `entries` of `module` runs, or its forward pass. Weights that children share are among
    these, and those of children with `fsdp_shard_with_root = True`, whose methods are called past their forward pass.
    """
    for part in module.modules():
        for p in part.parameters(recurse=False):
            if not p.is_contiguous():  # FSDP2 refuses weights in channels_last: their inputs are instead
                part.register_forward_pre_hook(_channels_last)
                p.data = p.data.contiguous()
    children = list(module.children())
    for child in children:
        elsewhere = {id(p) for other in children if other is not child for p in other.parameters()}
        own = {id(p) for p in child.parameters()}
        if own and not own & elsewhere and not getattr(child, "fsdp_shard_with_root", False):
            child.register_forward_hook(_no_view)
            fsdp.fully_shard(child, mesh=mesh, reshard_after_forward=True)
    fsdp.fully_shard(module, mesh=mesh)
    for entry in entries:
        fsdp.register_fsdp_forward_method(module, entry)


@contextlib.contextmanager
def whole(module: nn.Module) -> Iterator[None]:
    """Inside, each rank holds all weights of a sharded `module`: ranks may call it as often as they like.

    Else each call is a collective, and a rank with fewer batches than others would leave these waiting.
    """
    parts = [part for part in module.modules() if isinstance(part, fsdp.FSDPModule)]
    for part in parts:
        part.unshard()
        if part is not module:
            part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            if part is not module:
                part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def _channels_last(module: nn.Module, inputs: Any) -> Any:
    x, *others = inputs
    return (x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x, *others)


def _no_view(module: nn.Module, inputs: Any, output: Any) -> Any:
    """FSDP2 hangs its hooks on what a module returns; written to in place, a view would lose them."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output
