"""The recipes of conf/experiment/ for GPUs take the steps of the code that they cite."""

from collections.abc import Callable

import pytest
import torch
from composition import task
from hydra.utils import instantiate
from methods.recipe import make_batch, make_method
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.methods.base import Method


def moco_demo(method: Method, x1: Tensor, x2: Tensor) -> Tensor:
    """`loss = loss_12 + loss_21`, each the cross-entropy of the key among the queue, at temperature 0.1."""
    losses = []
    for query, key in ((x1, x2), (x2, x1)):
        q, k = F.normalize(method.projector(method(query)), dim=1), F.normalize(method.teacher(key).detach(), dim=1)
        logits = torch.cat([(q * k).sum(dim=1, keepdim=True), q @ method.queue.rows.T], dim=1) / 0.1
        losses.append(F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long)))
    return losses[0] + losses[1]


def lightly_byol(method: Method, x1: Tensor, x2: Tensor) -> Tensor:
    """`0.5 * (criterion(p0, z1) + criterion(p1, z0))` of negative cosines."""
    directions = ((x1, x2), (x2, x1))
    p_z = [(method.predictor(method.projector(method(a))), method.teacher(b).detach()) for a, b in directions]
    return 0.5 * sum(-F.cosine_similarity(p, z).mean() for p, z in p_z)


@pytest.mark.parametrize(
    ("name", "source", "lr", "weight_decay"), [("moco", moco_demo, 0.06, 5e-4), ("byol", lightly_byol, 0.24, 5e-4)]
)
def test_steps_are_those_of_the_source(
    name: str, source: Callable[..., Tensor], lr: float, weight_decay: float
) -> None:
    config = task(f"experiment={name}_cifar10")
    extra = {"symmetric": config.method.symmetric, "temperature": config.method.temperature} if name == "moco" else {}
    method = make_method(name, **extra, **({"bn_splits": 1} if extra else {})).double()
    views = make_batch(name, dtype=torch.float64)["views"]
    weights = [p for p in method.parameters() if p.requires_grad and p.ndim > 1]
    gradients = torch.autograd.grad(source(method, *views), weights)
    expected = [p.detach() - lr * (g + weight_decay * p.detach()) for p, g in zip(weights, gradients, strict=True)]
    optimizer = instantiate(config.optimizer)(method.groups())
    method.loss({"views": views})["loss"].backward()
    optimizer.step()
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-9)
