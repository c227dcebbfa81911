"""Runs the jobs of a sweep with any launcher, and reports those that fail.

A job is the command in the job's own folder: what is finished there returns its objective, what was stopped resumes.
"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from omegaconf import DictConfig, open_dict

from ssl_lightning.errors import RunFailed, TrainingInterrupted, described
from ssl_lightning.launch.sweep_folder import SweepStopped


@dataclass(frozen=True)
class Job:
    """One job, over: its objective, or why it failed."""

    name: str
    folder: Path
    value: Any = None
    error: str | None = None


def run_jobs(sweeper: Any, jobs: Sequence[Sequence[str]], first: int) -> list[Job]:
    """Launches the jobs of these overrides, numbered from `first`; a failing one takes no other down.

    All are composed before the first starts, so that a wrong word stops the sweep at once.

    Args:
        sweeper: has `config` (of the sweep), `hydra_context` and `launcher`.
        jobs: the overrides of each.
        first: number of the first; a number is also the name of a job's folder unless `hydra.sweep.subdir` is changed.

    Raises:
        SweepStopped: a signal arrived.
    """
    folders = [compose_job(sweeper, number, overrides)[1] for number, overrides in enumerate(jobs, start=first)]
    try:
        returns = sweeper.launcher.launch(jobs, initial_job_idx=first)
    except (TrainingInterrupted, KeyboardInterrupt) as stop:
        folder = Path(str(sweeper.config.hydra.sweep.dir)).resolve()
        raise SweepStopped(getattr(stop, "signal", signal.SIGINT), 0, folder) from None
    return [_over(*job) for job in zip(job_names(jobs, first), folders, returns, strict=True)]


def _over(name: str, folder: Path, result: JobReturn) -> Job:
    if result.status is JobStatus.COMPLETED:
        return Job(name, folder, value=result.return_value)
    return Job(name, folder, error=described(result._return_value))


def parsed_overrides(sweeper: Any, arguments: list[str]) -> list[Override]:
    """What a sweep is over: the `params` of its config and the arguments of the command line."""
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    return parser.parse_overrides([*(f"{key}={value}" for key, value in sweeper.params.items()), *arguments])


def compose_job(sweep: Any, number: int, overrides: Sequence[str]) -> tuple[DictConfig, Path]:
    """The config of a job, Hydra's part included, and its folder; `sweep` is its sweeper or launcher."""
    job = sweep.hydra_context.config_loader.load_sweep_config(sweep.config, list(overrides))
    with open_dict(job):
        job.hydra.job.id = job.hydra.job.num = number
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(job)
    try:
        return job, Path(str(sweep.config.hydra.sweep.dir), str(job.hydra.sweep.subdir)).resolve()
    finally:
        HydraConfig.instance().cfg = before


def job_names(jobs: Sequence[Sequence[str]], first: int) -> list[str]:
    """How jobs are called on the screen: by number, and by the overrides that not all of them have."""
    shared = set.intersection(*map(set, jobs)) if jobs else set()
    words = [" ".join(o for o in filter_overrides(overrides) if o not in shared) for overrides in jobs]
    return [f"job {number} ({own})" if own else f"job {number}" for number, own in enumerate(words, start=first)]


def tell_failed(jobs: Sequence[Job]) -> int:
    """Says on standard error which jobs failed and why, in a line each; returns how many."""
    failed = [job for job in jobs if job.error is not None]
    for job in failed:
        print(f"ssl-pretrain: {job.name} failed: {job.error}", file=sys.stderr, flush=True)
    return len(failed)


def raise_if_failed(jobs: Sequence[Job], folder: Path) -> None:
    """Ends a sweep in which jobs failed.

    Raises:
        RunFailed: at least one did.
    """
    if count := tell_failed(jobs):
        raise RunFailed(f"{count} of {len(jobs)} jobs failed; try them again with: ssl-pretrain resume_sweep={folder}")
