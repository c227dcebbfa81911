"""Every method: two processes with half a batch each train as one process with the whole batch."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from distributed.harness import run
from methods.recipe import METHODS, compose_method, each_tensor, make_batch, make_method, take_composed
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_lightning.distributed import gather, mean_over_ranks, rank, world_size
from ssl_lightning.errors import InputError
from ssl_lightning.launch.trainer import buffers_broadcast
from ssl_lightning.losses import contrastive
from ssl_lightning.methods import moco
from ssl_lightning.methods.base import Method
from ssl_lightning.modules import norm, queue
from ssl_lightning.modules.norm import gather_batch_norm
from ssl_lightning.randomness import seed_generators

STEPS, B = 3, 16
FEWER = {"colorization": 4}
"""Samples where each takes long."""
BROADCAST = "buffers broadcast over a queue fed locally"
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
    "queue fed locally": (queue, "gather", lambda x: x),
    BROADCAST: (queue, "gather", lambda x: x),
    "groups not shared out": (moco.MoCo, "setup", lambda self, stage: None),
    "statistics of this rank alone": (norm, "gather", lambda x: x.repeat(world_size(), *[1] * (x.ndim - 1))),
    "a reduction's result dropped": (norm, "mean_over_ranks", lambda x: (mean_over_ranks(x), x)[1]),
}
"""Mistakes that are easily made: (module, attribute, what stands there instead)."""


class Loss(nn.Module):
    """What DistributedDataParallel wraps."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """A mean over targets is weighed by their number, as in `Method.training_step`."""
        result = self.method.loss(batch)
        weight = result.get("weight", result["loss"].new_ones(()))
        return result["loss"] * weight / mean_over_ranks(weight)


def train(
    name: str, changes: dict[str, Any], batches: list[dict[str, Any]], config: DictConfig, mutation: str = ""
) -> dict[str, Tensor]:
    """Losses, averaged over ranks, and all weights and buffers after three plain steps on this rank's rows."""
    take_composed(name, config)
    with pytest.MonkeyPatch.context() as patch:
        if mutation:
            patch.setattr(*MUTATIONS[mutation])
        torch.manual_seed(0)
        method = make_method(name, **changes).double()
        method.setup("fit")
        gather_batch_norm(method)
        model = Loss(method)
        if world_size() > 1:
            model = DistributedDataParallel(model, **buffers_broadcast(mutation == BROADCAST))
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.2)
        losses = []
        for step, batch in enumerate(batches):
            seed_generators(step, step)  # of masks and noise, which all ranks draw for the whole batch
            loss = model(each_tensor(batch, lambda x: x.chunk(world_size())[rank()]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_step(step / len(batches))
            losses.append(mean_over_ranks(loss.detach()))
    return {"losses": torch.stack(losses), **{key: value.detach() for key, value in method.state_dict().items()}}


def fixed_batches(name: str) -> list[dict[str, Any]]:
    return [make_batch(name, FEWER.get(name, B), seed, torch.float64, padded=False) for seed in range(STEPS)]


def difference(name: str, *rest: Any, mutation: str = "") -> float:
    """The largest difference, of anything trained, between either of two ranks and one process alone."""
    args = (name, *rest, compose_method(name))
    alone = train(*args)
    differences = []
    for found in run(train, *args, mutation):
        assert list(found) == list(alone)
        assert all(found[key].shape == value.shape for key, value in alone.items())
        differences += [float((found[key] - value).abs().max()) for key, value in alone.items() if value.numel()]
    return max(differences)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_are_one(name: str) -> None:
    assert difference(name, {}, fixed_batches(name)) < 1e-8


@pytest.mark.parametrize("splits", [1, 2, 4, 8])
def test_moco_with_whole_and_split_batch_norm(splits: int) -> None:
    assert difference("moco", {"bn_splits": splits, "queue_size": 40}, fixed_batches("moco")) < 1e-8


def test_symmetric_moco() -> None:
    assert difference("moco", {"bn_splits": 4, "symmetric": True, "queue_size": 40}, fixed_batches("moco")) < 1e-8


def test_training_moves_everything() -> None:
    """Else the comparisons above would compare nothing."""
    batches = fixed_batches("moco")
    first, last = (train("moco", {}, part, compose_method("moco")) for part in (batches[:1], batches))
    assert all(not torch.equal(first[key], last[key]) for key in first if key != "losses")


@pytest.mark.parametrize(
    ("name", "mutation"),
    [
        ("simclr", "gather without gradient"),
        ("simclr", "labels of rank 0"),
        ("simclr", "gradients times world size"),
        ("simclr", "statistics of this rank alone"),
        ("moco", "queue fed locally"),
        ("moco", BROADCAST),
        ("moco", "groups not shared out"),
        ("moco", "a reduction's result dropped"),
    ],
)
def test_a_mistake_would_be_seen(name: str, mutation: str) -> None:
    whole = {"queue fed locally": 1, BROADCAST: 1}  # with several groups the keys are gathered for these, too
    changes = {"bn_splits": whole.get(mutation, 4)} if name == "moco" else {}
    assert difference(name, changes, fixed_batches(name), mutation=mutation) > 1e-6


def odd_splits() -> str:
    try:
        make_method("moco", bn_splits=3).setup("fit")
    except InputError as error:
        return str(error)
    return "no error"


def test_splits_that_do_not_divide_over_devices() -> None:
    assert run(odd_splits) == ["method.bn_splits=3 does not divide over 2 devices"] * 2
