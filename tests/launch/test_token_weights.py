"""Losses of tokens count by tokens: two processes, and two accumulated batches, are one batch."""

import csv
from pathlib import Path

import pytest
import torch
from launch.killing import run
from launch.test_killed import CORPUS, TEXT
from runs.harness import weights

from ssl_lightning.runs.folder import RunFolder

OPTIONS = (
    "method=causal_lm", *CORPUS, *TEXT, "trainer.max_steps=6", "optimizer=sgd", "optimizer.lr=0.5",
    "precision=64-true",
)  # fmt: skip


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in one process and one batch a step."""
    folder = tmp_path_factory.mktemp("one") / "run"
    assert run(folder, *OPTIONS)
    return folder


def losses(folder: Path) -> list[float]:
    with RunFolder(folder).metrics.open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.parametrize(
    ("world_size", "options"),
    [
        (2, ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")),
        (1, ("data.batch_size=8", "trainer.accumulate_grad_batches=2")),
    ],
)
def test_the_same_weights(tmp_path: Path, one: Path, world_size: int, options: tuple[str, ...]) -> None:
    parts = tmp_path / "parts"
    assert run(parts, *OPTIONS, *options, world_size=world_size)
    expected, found = weights(one), weights(parts)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-8)
    if world_size > 1:
        assert losses(parts) == pytest.approx(losses(one), abs=1e-8)
