"""Lightning gives each optimizer a closure; the weights must come out as by a loop of one's own."""

from copy import deepcopy
from typing import Any

import lightning
import pytest
import torch
from composition import task
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ssl_lightning.optim.groups import parameter_groups


class Regression(lightning.LightningModule):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return (self.net(x) - y).square().mean()

    def configure_optimizers(self) -> Any:
        return self.make(parameter_groups(self))


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("name", ["adamw", "lars", "muon", "sgd"])
def test_three_steps_are_those_of_a_plain_loop(name: str, clip: float | None) -> None:
    torch.manual_seed(0)
    ours = Regression(instantiate(task(f"optimizer={name}").optimizer))
    plain, data = deepcopy(ours), TensorDataset(torch.randn(24, 4), torch.randn(24, 2))
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=clip,
    )  # fmt: skip
    trainer.fit(ours, DataLoader(data, batch_size=8))
    optimizer = plain.configure_optimizers()
    for batch in DataLoader(data, batch_size=8):
        optimizer.zero_grad()
        plain.training_step(batch, 0).backward()
        if clip:
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
        optimizer.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
