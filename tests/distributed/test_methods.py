"""Every method: two processes with half a batch each train as one process with the whole batch."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from distributed.harness import run
from methods.recipe import METHODS, each_tensor, make_batch, make_method
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from ssl_lightning.distributed import gather, mean_over_ranks, rank, world_size
from ssl_lightning.errors import InputError
from ssl_lightning.losses import contrastive
from ssl_lightning.methods import moco
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.norm import SplitBatchNorm

STEPS, B = 3, 16
MUTATIONS = {
    "gather without gradient": (
        contrastive,
        "distributed",
        SimpleNamespace(gather=lambda x: gather(x).detach(), rank=rank),
    ),
    "labels of rank 0": (contrastive, "distributed", SimpleNamespace(gather=gather, rank=lambda: 0)),
    "gradients times world size": (
        contrastive,
        "distributed",
        SimpleNamespace(gather=lambda x: gather(x * world_size() - x.detach() * (world_size() - 1)), rank=rank),
    ),
    "queue fed locally": (moco, "gather", lambda x: x),
    "groups not shared out": (moco.MoCo, "setup", lambda self, stage: None),
}
"""Mistakes that are easily made: (module, attribute, what stands there instead)."""


class Loss(nn.Module):
    """What DistributedDataParallel wraps."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.method.loss(batch)["loss"]


def without_batch_statistics(method: Method, keep_split: bool) -> None:
    """No batch normalisation, which sees half the batch and has no double for gloo, but the split one if wanted."""
    gone = _BatchNorm if keep_split else _BatchNorm | SplitBatchNorm
    for module in list(method.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, gone):
                setattr(module, name, nn.Identity())


def train(
    name: str, changes: dict[str, Any], batches: list[dict[str, Any]], keep_split: bool = False, mutation: str = ""
) -> dict[str, Tensor]:
    """Losses, averaged over ranks, and the weights and queues after three plain steps on this rank's rows."""
    with pytest.MonkeyPatch.context() as patch:
        if mutation:
            patch.setattr(*MUTATIONS[mutation])
        torch.manual_seed(0)
        method = make_method(name, **changes).double()
        method.setup("fit")
        without_batch_statistics(method, keep_split)
        model = DistributedDataParallel(Loss(method)) if world_size() > 1 else Loss(method)
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.2)
        losses = []
        for step, batch in enumerate(batches):
            loss = model(each_tensor(batch, lambda x: x.chunk(world_size())[rank()]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_step(step / len(batches))
            losses.append(mean_over_ranks(loss.detach()))
    buffers = {key: value for key, value in method.named_buffers() if "running" not in key and "num_" not in key}
    return {"losses": torch.stack(losses), **{k: p.detach() for k, p in method.named_parameters()}, **buffers}


def fixed_batches(name: str) -> list[dict[str, Any]]:
    return [make_batch(name, B, seed, torch.float64, padded=False) for seed in range(STEPS)]


def difference(*args: Any, mutation: str = "") -> float:
    """The largest difference, of anything trained, between either of two ranks and one process alone."""
    alone = train(*args)
    differences = []
    for found in run(train, *args, mutation):
        assert list(found) == list(alone)
        assert all(found[key].shape == value.shape for key, value in alone.items())
        differences += [float((found[key] - value).abs().max()) for key, value in alone.items() if value.numel()]
    return max(differences)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_are_one(name: str) -> None:
    assert difference(name, {}, fixed_batches(name), False) < 1e-8


@pytest.mark.parametrize("splits", [2, 4, 8])
def test_moco_with_its_split_batch_norm(splits: int) -> None:
    assert difference("moco", {"bn_splits": splits, "queue_size": 40}, fixed_batches("moco"), True) < 1e-8


def test_symmetric_moco() -> None:
    assert difference("moco", {"bn_splits": 4, "symmetric": True, "queue_size": 40}, fixed_batches("moco"), True) < 1e-8


def test_training_moves_everything() -> None:
    """Else the comparisons above would compare nothing."""
    batches = fixed_batches("moco")
    first, last = train("moco", {}, batches[:1]), train("moco", {}, batches)
    assert all(not torch.equal(first[key], last[key]) for key in first if key != "losses")


@pytest.mark.parametrize(
    ("name", "mutation"),
    [
        ("simclr", "gather without gradient"),
        ("simclr", "labels of rank 0"),
        ("simclr", "gradients times world size"),
        ("moco", "queue fed locally"),
        ("moco", "groups not shared out"),
    ],
)
def test_a_mistake_would_be_seen(name: str, mutation: str) -> None:
    keep_split = mutation == "groups not shared out"
    changes = {"bn_splits": 4 if keep_split else 1} if name == "moco" else {}
    assert difference(name, changes, fixed_batches(name), keep_split, mutation=mutation) > 1e-6


def odd_splits() -> str:
    try:
        make_method("moco", bn_splits=3).setup("fit")
    except InputError as error:
        return str(error)
    return "no error"


def test_splits_that_do_not_divide_over_devices() -> None:
    assert run(odd_splits) == ["method.bn_splits=3 does not divide over 2 devices"] * 2
