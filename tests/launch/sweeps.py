"""What the tests of sweeps and of searches share: short jobs, and what a sweep left."""

import subprocess
from pathlib import Path

from runs.harness import TINY

from ssl_lightning.runs.folder import RunFolder

ALONE = (*TINY, "callbacks=minimal", "objective=train/loss")
"""A job without observers."""


def stored_objective(folder: Path, name: str) -> float | None:
    """The last value of a metric of a run, if it is finished."""
    results = RunFolder(folder).read_results()
    return results["metrics"].get(name) if results.get("status") == "finished" else None


def jobs(sweep: Path) -> list[str]:
    return sorted(folder.name for folder in sweep.iterdir() if (folder / ".hydra").is_dir())


def failures(result: subprocess.CompletedProcess) -> list[str]:
    return [line for line in result.stderr.splitlines() if ") failed: " in line]
