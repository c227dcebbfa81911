"""Optimizers on weights that are shared out over two processes step as they do on whole ones."""

from typing import Any

import pytest
import torch
from distributed.harness import run
from timm.optim import Lars
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from ssl_lightning.distributed import rank, shard, unsharded, world_size
from ssl_lightning.optim.groups import parameter_groups
from ssl_lightning.optim.muon import MuonAdamW

OPTIMIZERS: dict[str, Any] = {
    "lars": lambda groups: Lars(groups, lr=1.0, momentum=0.9, weight_decay=0.1, trust_coeff=0.1, always_adapt=True),
    "muon": lambda groups: MuonAdamW(groups, lr=0.01),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
}


class Net(nn.Module):
    """A convolution in channels_last, a child, a tensor of its own, and one row more than two ranks can halve."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(8, 5)
        self.scale = nn.Parameter(torch.ones(5))
        self.to(torch.float64, memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)) * self.scale

    def loss(self, x: Tensor) -> Tensor:
        return (self.body(x) @ self.body(x).T).mean() + self(x).square().mean()


def train(name: str) -> list[Tensor]:
    torch.manual_seed(0)
    net, x = Net(), torch.randn(4, 2, 3, 3, dtype=torch.float64)
    if world_size() > 1:
        shard(net, init_device_mesh("cpu", (world_size(),)), "loss")
    optimizer = OPTIMIZERS[name](parameter_groups(net))
    for _ in range(3):
        optimizer.zero_grad()
        net.loss(x).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.01)
        optimizer.step()
    with unsharded(net), torch.no_grad():
        for _ in range(1 + rank()):  # one rank calls it more often than the other
            net(x)
    return [p.full_tensor() if hasattr(p, "full_tensor") else p.detach() for p in net.parameters()]


@pytest.mark.parametrize(("name", "tolerance"), [("sgd", 1e-12), ("lars", 1e-12), ("muon", 1e-3)])
def test_optimizers_on_shards(name: str, tolerance: float) -> None:
    """Muon rounds otherwise where sums are in another order, by less than a tenth of a step."""
    expected = train(name)
    for found in run(train, name):
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance)
