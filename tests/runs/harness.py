"""Real runs for tests: in this process, or as the commands that a user types."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict
from runs.warm import Command

from ssl_lightning.commands.pretrain import pretrain
from ssl_lightning.config.paths import CONFIG_DIR
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

WATCHED = (*TINY, "callbacks.probe.linear_samples=100", "callbacks.health.every_n_steps=4", "callbacks.pictures=null")
"""The same with the observers, but for the pictures."""


def train(folder: Path, *overrides: str) -> RunFolder:
    """`ssl-pretrain` with these overrides in this process; the run is in `folder`."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("pretrain", [*overrides, f"hydra.run.dir={folder}"], return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    task = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    pretrain(task)
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


def _ended(running: Command | subprocess.Popen, timeout: float) -> subprocess.CompletedProcess:
    out, err = running.communicate(timeout)
    assert running.returncode is not None
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)
