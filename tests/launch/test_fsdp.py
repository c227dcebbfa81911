"""`trainer=fsdp`: sharded over two processes, a run is that of `trainer=ddp`, and its files are those of any run."""

import shutil
from pathlib import Path

import pytest
import torch
from launch.killing import run
from launch.test_killed import SMALL, assert_same, go_on_until_the_end, known, state
from runs.harness import TINY, WATCHED, command, weights
from runs.harness import train as run_alone
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.launch.trainer import make_trainer

OPTIONS = (
    *WATCHED,
    "callbacks.checkpoint.every_n_steps=3",
    "callbacks.probe.times=2",
    "optimizer=sgd",
    "channels_last=false",
)
TWO = ("trainer.accelerator=cpu", "trainer.devices=2")


def train(folder: Path, strategy: str, *options: str) -> dict[str, Tensor]:
    """The state of the method at the end of a run of two processes."""
    method = next((option.partition("=")[2] for option in options if option.startswith("method=")), "simclr")
    assert run(folder, *known(method, OPTIONS), f"trainer={strategy}", *TWO, *options, world_size=2)
    return weights(folder)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert type(found[key]) is Tensor
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


MANY = (
    "moco",
    "byol",
    "mae",
    "ijepa",
    "dino",
    "dinov2",
    "deepcluster_v2",
    "clip",
    "hubert",
    "wav2vec2",
    "data2vec_audio",
)


@pytest.mark.parametrize("method", ["simclr", *(pytest.param(m, marks=pytest.mark.slow) for m in MANY)])
def test_sharded_is_whole(tmp_path: Path, method: str) -> None:
    options = (f"method={method}", *SMALL.get(method, ()))
    assert_close(train(tmp_path / "fsdp", "fsdp", *options), train(tmp_path / "ddp", "ddp", *options))


@pytest.mark.slow
def test_a_teacher_of_hubert_is_sharded(tmp_path: Path) -> None:
    options = ("method=hubert", *SMALL["hubert"])
    teacher = run_alone(tmp_path / "teacher", *known("hubert", OPTIONS), *options)
    options = (*options, f"method.teacher={teacher.path}")
    assert_close(train(tmp_path / "fsdp", "fsdp", *options), train(tmp_path / "ddp", "ddp", *options))


def test_a_run_of_one_process_resumes_sharded_as_it_resumes_whole(tmp_path: Path) -> None:
    """With the momentum of two groups of weights."""
    run_alone(tmp_path / "ddp", *OPTIONS, "trainer.max_epochs=1")
    shutil.copytree(tmp_path / "ddp", tmp_path / "fsdp")
    resumed = [train(tmp_path / name, name, f"resume={tmp_path / name}") for name in ("fsdp", "ddp")]
    assert_close(*resumed)


@pytest.mark.slow
def test_adamw_and_chunks(tmp_path: Path) -> None:
    """Few steps: where a gradient is 0 but for rounding, AdamW makes whole steps of the rounding."""
    options = ("optimizer=adamw", "trainer.max_epochs=null", "trainer.max_steps=3", "method.chunk_size=16")
    assert_close(train(tmp_path / "fsdp", "fsdp", *options), train(tmp_path / "ddp", "ddp", *options))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["simclr", "moco"])
def test_a_killed_run_goes_on_and_is_evaluated(tmp_path: Path, method: str) -> None:
    options = (f"method={method}", *OPTIONS, *SMALL.get(method, ()), "trainer=fsdp", *TWO)
    assert run(tmp_path / "whole", *options, world_size=2)
    kills = [("in a step", 5), ("with a checkpoint half written", 2)]
    assert go_on_until_the_end(tmp_path / "killed", kills, *options, world_size=2) == 2
    assert_same(state(tmp_path / "killed"), state(tmp_path / "whole"))
    done = command("evaluate", "run=killed", "labels=[]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_ranks_with_unequal_numbers_of_batches(tmp_path: Path) -> None:
    """65 images to probe in batches of 64: the last batch is of one process alone."""
    assert train(tmp_path / "run", "fsdp", "data.val_size=65")


def test_precision_that_cannot_be_sharded() -> None:
    with pytest.raises(InputError, match=r"does not support .*'16-mixed'.* among: 32-true, bf16-mixed"):
        make_trainer(accelerator="cpu", devices=2, strategy="fsdp", precision="16-mixed", callbacks=[])


def test_a_command(tmp_path: Path) -> None:
    short = (*TINY[1:], "callbacks=minimal", "trainer.max_epochs=1")
    done = command("pretrain", *short, "trainer=fsdp", *TWO, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
