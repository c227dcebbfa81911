"""Two processes with the DataModule and the Trainer of a run: who draws what."""

import tempfile
from typing import Any

import numpy as np
import pytest
import torch
from distributed.harness import run
from methods.recipe import make_method
from torch import Tensor, nn

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.image.datamodule import ImageDataModule
from ssl_lightning.distributed import rank, world_size
from ssl_lightning.launch.trainer import make_trainer
from ssl_lightning.methods.base import Method
from ssl_lightning.optim.schedules import constant
from ssl_lightning.randomness import shared_generator
from ssl_lightning.transforms.ops import CentralSquare
from ssl_lightning.transforms.views import Chain, MultiView

B, S = 16, 28
PIXELS = {"mean": [0.5], "std": [0.25]}


def source(root: str, split: str) -> ImageDataset:
    return ImageDataset(np.random.default_rng(0).integers(0, 256, (80, 1, S, S), dtype=np.uint8))


def train(method: Method, *ops: nn.Module) -> dict[str, float]:
    """Three steps and two batches of validation; the metrics."""
    view = Chain(**{type(op).__name__: op for op in ops})
    options = {"image_size": S, "channels": 1, "batch_size": B, "val_size": 2 * B, **PIXELS}
    views = {f"view {number}": view for number in range(method.views or 2)}
    data = ImageDataModule(source, "", MultiView(views, **PIXELS), **options)
    number = str(rank())
    torchrun = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": str(world_size()), "TORCHELASTIC_RUN_ID": "harness"}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for key, value in torchrun.items():
            patch.setenv(key, value)
        trainer = make_trainer(
            accelerator="cpu",
            devices=world_size(),
            strategy="ddp" if world_size() > 1 else "auto",
            precision="64-true",
            max_epochs=1,
            callbacks=[],
            logger=False,
            enable_progress_bar=False,
            default_root_dir=folder,
            num_sanity_val_steps=0,
        )
        trainer.fit(method, data)
    return {key: float(value) for key, value in trainer.callback_metrics.items()}


def trained(name: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    method = make_method(name)
    metrics = train(method, CentralSquare(S))
    return {"val/loss": torch.tensor(metrics["val/loss"]), **method.state_dict()}


@pytest.mark.parametrize("name", ["mae", "simmim", "ijepa", "vae", "wmse", "lejepa", "data2vec", "dinov2"])
def test_two_processes_draw_the_masks_and_noise_of_one(name: str) -> None:
    alone, together = trained(name), run(trained, name)
    torch.manual_seed(0)
    start = make_method(name).state_dict()
    moved = [key for key, value in start.items() if (alone[key] - value).abs().max() > 1e-4]
    assert moved
    for found in together:
        for key, value in alone.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-8, msg=lambda text, key=key: f"{key}: {text}")


class Recorder(Method):
    """Writes down what may be drawn at each step, and the views."""

    views = 1

    def __init__(self) -> None:
        super().__init__(torch.optim.SGD, constant)
        self.backbone = nn.Linear(1, 1, bias=False)
        self.seen: dict[str, list[Tensor]] = {"view": [], "global": [], "shared": []}

    def loss(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        for key, value in {
            "view": (batch["views"][0] * 0.25 + 0.5).flatten()[:100],
            "global": torch.rand(100),
            "shared": torch.rand(100, generator=shared_generator()),
        }.items():
            self.seen[key].append(value)
        return {"loss": self.backbone.weight.sum(), "embedding": batch["index"][:, None]}


class FirstDraws(CentralSquare):
    """An image of the first numbers of the transform's generator."""

    def draw(self, shape: tuple, generator: torch.Generator) -> dict[str, Tensor]:
        return {"noise": torch.rand(shape, generator=generator)}

    def transform(self, images: Tensor, params: dict[str, Tensor]) -> Tensor:
        return params["noise"]


def recorded() -> dict[str, Tensor]:
    method = Recorder()
    train(method, FirstDraws(S))
    return {key: torch.stack(values) for key, values in method.seen.items()}


def test_ranks_share_one_stream_and_have_two_of_their_own() -> None:
    """And no stream repeats another, at no step and no validation."""
    first, second = run(recorded)
    assert torch.equal(first["shared"], second["shared"])
    streams = torch.cat([*first.values(), second["view"], second["global"]]).to(torch.float32)
    assert streams.shape == (5 * (3 + 2), 100)
    near = torch.cdist(streams, streams) < 1e-3
    assert torch.equal(near, torch.eye(len(streams), dtype=torch.bool))
