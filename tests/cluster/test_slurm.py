"""Runs as jobs of a real SLURM: sweeps, stopped jobs, several tasks."""

import sys
from pathlib import Path

import pytest
from cluster.slurm import Cluster
from runs.harness import TINY

pytestmark = pytest.mark.slurm

LAUNCHER = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_per_cpu=1G")
"""As on any cluster, but for a small node."""


def sweep(cluster: Cluster, folder: Path, *overrides: str) -> list[str]:
    """The command of a sweep over SLURM into `folder`."""
    return [sys.executable, "-m", "ssl_lightning.pretrain", "-m", *LAUNCHER, f"hydra.sweep.dir={folder}", *overrides]


def test_a_sweep_is_an_array_of_jobs(cluster: Cluster, tmp_path: Path) -> None:
    cluster.run(*sweep(cluster, tmp_path / "sweep", *TINY, "seed=1,2"), cwd=tmp_path, timeout=120)
