"""Communication between ranks: the only module that uses `torch.distributed`. On one process all is the identity.

Data-parallel training averages the gradients of all ranks. For the gradient of the global batch, gather with gradient
and take the mean over the anchors of this rank (or the full loss on every rank). Never multiply by the world size.
"""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import fsdp
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict, set_optimizer_state_dict
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from ssl_lightning.errors import InputError

_MAX_AXES = 8


def _active() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Index of this process, from 0."""
    return dist.get_rank() if _active() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if _active() else 1


@functools.lru_cache(maxsize=1)
def _gloo_beside(group: Any) -> Any:
    return dist.new_group(backend="gloo")


def _host_group() -> Any:
    """A group for CPU tensors: gloo even if training uses NCCL, so that comparing shapes never waits for the GPU."""
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
    """Rows of all ranks in rank order, (b, ...) -> (W*b, ...), with gradient.

    The backward pass sums the gradients of all ranks with respect to this rank's rows.

    Raises:
        InputError: ranks hold different shapes; every rank raises it, so none waits forever.
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
    """Rows of all ranks in rank order, (n_rank, ...) -> (sum of n_rank, ...), without gradient.

    For evaluation: ranks may hold different numbers of rows, also none.
    """
    if world_size() == 1:
        return x.detach()
    lengths = [shape[0] for shape in _shapes(x)]
    padded = x.new_zeros(max(lengths), *x.shape[1:])
    padded[: len(x)] = x
    parts = _Gather.apply(padded).chunk(len(lengths))
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def mean_over_ranks(x: Tensor) -> Tensor:
    """Mean of a floating-point tensor of any shape over ranks, with gradient; bit-identical on every rank."""
    return x if world_size() == 1 else gather(x[None]).mean(dim=0)


def all_reduce_max(value: int) -> int:
    """The maximum of `value` over ranks. Every rank must call it. It does not wait for the GPU."""
    if world_size() == 1:
        return value
    found = torch.tensor(value)
    dist.all_reduce(found, dist.ReduceOp.MAX, group=_host_group())
    return int(found)


@torch.no_grad()
def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number of these tensors, of which each rank may hold a shard, is infinite or NaN; alike on all ranks.

    Every rank must call it.
    """
    shards = [x.to_local() if isinstance(x, DTensor) else x for x in tensors]
    finite = [x.isfinite().all() for x in shards]
    return not all_reduce_max(not bool(torch.stack(finite).all()) if finite else 0)


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of the gradients of all weights, also of sharded ones, as one vector."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def wait_for_all() -> None:
    """Until all ranks are here, however long one of them takes; without torch's usual limit of half an hour."""
    if world_size() > 1:
        group: Any = dist.new_group(backend="gloo", timeout=timedelta(days=365))
        dist.barrier(group=group)
        dist.destroy_process_group(group)


def shard(module: nn.Module, mesh: Any, *entries: str) -> None:
    """Shards weights, gradients and optimizer state of `module` over the ranks of `mesh`, in place (FSDP2).

    Each child is a unit of its own: its weights are unsharded only during its forward and backward pass. All other
    weights form the root unit, which is unsharded during the forward pass of `module` and during its methods `entries`.
    The root unit holds weights that children share, and children whose methods or parts are called instead of
    `forward`: lists, and those with `fsdp_shard_with_root = True`.
    """
    for part in module.modules():
        for p in part.parameters(recurse=False):
            if not p.is_contiguous():  # FSDP2 refuses channels_last weights: make the inputs channels_last instead
                part.register_forward_pre_hook(_channels_last)
                p.data = p.data.contiguous()
    children = list(module.children())
    for child in children:
        elsewhere = {id(p) for other in children if other is not child for p in other.parameters()}
        own = {id(p) for p in child.parameters()}
        with_root = isinstance(child, nn.ModuleList) or getattr(child, "fsdp_shard_with_root", False)
        if own and not own & elsewhere and not with_root:
            child.register_forward_hook(_no_view)
            fsdp.fully_shard(child, mesh=mesh, reshard_after_forward=True)
    fsdp.fully_shard(module, mesh=mesh)
    for entry in entries:
        fsdp.register_fsdp_forward_method(module, entry)


def load_sharded(
    model: nn.Module, weights: dict[str, Any], optimizers: list[Optimizer], states: list[dict[str, Any]]
) -> None:
    """Gives a sharded model and its optimizers what `state_dict` of whole ones has returned; every rank has it."""
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, weights, options=options)
    for optimizer, state in zip(optimizers, states, strict=True):
        set_optimizer_state_dict(model, optimizer, _by_name(state, optimizer, model), options=options)


def _by_name(state: dict[str, Any], optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """The state of an optimizer by the names of its weights, in the place of numbers in the order of its groups.

    `FullyShardedDataParallel.rekey_optim_state_dict` takes the numbers for those of the model's order.
    """
    names = {p: name for name, p in model.named_parameters()}
    stored = [number for group in state["param_groups"] for number in group["params"]]
    ours = [names[p] for group in optimizer.param_groups for p in group["params"]]
    name_of = dict(zip(stored, ours, strict=True))
    groups = [{**group, "params": [name_of[number] for number in group["params"]]} for group in state["param_groups"]]
    return {"state": {name_of[number]: values for number, values in state["state"].items()}, "param_groups": groups}


@contextlib.contextmanager
def unsharded(module: nn.Module) -> Iterator[None]:
    """Inside, each rank holds all weights of a sharded `module`, so ranks may call it a different number of times.

    Outside, each call is a collective operation: a rank with fewer batches would keep the others waiting.
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
    """FSDP2 attaches its hooks to the output of a module; a view would lose them if it were modified in place."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output
