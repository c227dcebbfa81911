"""Real runs for tests: in this process, or as the commands that a user types."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from composition import whole
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from runs.warm import Command

from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import RunFolder

TINY = (
    "trainer=cpu",
    "backbone.width=8",
    "backbone.stages=2",
    "method.hidden_dim=32",
    "data.source.copies=1",
    "data.fraction=0.33",
    "data.val_size=100",
    "data.batch_size=64",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=2",
)
"""A run on real digits that takes about a second: 7 steps an epoch, 2 epochs."""

WATCHED = (*TINY, "callbacks.probe.linear_samples=20", "callbacks.health.every_n_steps=4", "callbacks.pictures=null")
"""The same with the observers, but for the pictures."""

ONE_PENALTY = replace(PROTOCOLS["v1"], l2_grid=(10.0,))
"""The protocol without the choice of a penalty."""


def run_here(name: str, folder: Path, *overrides: str) -> None:
    """`ssl-<name>` with these overrides in this process; it writes to `folder`."""
    run_composed(name, folder, whole(*overrides, name=name).copy())


def run_composed(name: str, folder: Path, config: DictConfig) -> None:
    """The same with its composed config, Hydra's part included."""
    with open_dict(config):
        config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    run = getattr(import_module(f"ssl_lightning.commands.{name}"), name)
    run(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))


def train(folder: Path, *overrides: str) -> RunFolder:
    """`ssl-pretrain` in this process; the run is in `folder`."""
    run_here("pretrain", folder, *overrides)
    return RunFolder(folder)


def command(name: str, *arguments: str, cwd: Path, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess:
    """`ssl-<name>` as a process of its own, forked from a warm one; `options` of `Command`, or of its environment."""
    return _ended(Command(name, *arguments, cwd=cwd, **options), timeout)


def process(
    name: str, *arguments: str, cwd: Path, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess:
    """`ssl-<name>` as a shell starts it, with all its imports: for what a fork cannot show."""
    return _ended(start_process(name, *arguments, cwd=cwd, **environment), timeout)


def start_process(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.Popen:
    """The same while it runs, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", f"ssl_lightning.{name}", *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_until(process: subprocess.Popen | Command, *words: str) -> None:
    """Reads what a command says up to lines that hold the words, one after the other."""
    for word in words:
        said = ""
        while word not in said:
            ended = process.poll() is not None
            said = process.stdout.readline()
            assert said or not ended, f"ended without saying '{word}': {process.stderr.read()}"
            if not said:
                time.sleep(0.01)


def files_below(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each file below a folder was written, and what is in it."""
    return {str(f): (f.stat().st_mtime_ns, f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file()}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the last checkpoint of a run."""
    return read_checkpoint(RunFolder(folder).last)["state_dict"]


def assert_same_weights(one: Path, other: Path) -> None:
    """Two runs ended alike, bit for bit."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def _ended(running: Command | subprocess.Popen, timeout: float) -> subprocess.CompletedProcess:
    out, err = running.communicate(timeout)
    assert running.returncode is not None
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)
