"""The jobs of a sweep: launched by whichever launcher there is, skipped or gone on with, and told about."""

import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from ssl_lightning.errors import InputError, TrainingInterrupted
from ssl_lightning.launch.sweep_folder import SweepFailed, SweepStopped, finished, stored_objective
from ssl_lightning.runs.folder import quoted


class JobFailed(RuntimeError):
    """A job ended in a way that left no exception to show; the message says how and where to look."""


@dataclass(frozen=True)
class Job:
    """One job, over: its objective, or why it failed."""

    number: int
    words: str
    folder: Path
    value: Any = None
    error: str | None = None

    @property
    def name(self) -> str:
        return f"job {self.number} ({self.words})" if self.words else f"job {self.number}"


class Jobs:
    """Runs jobs by their numbers; a number is also the name of a job's folder unless `hydra.sweep.subdir` is changed.

    Args:
        config: the composed config of the sweep.
        context: Hydra's loader of configs.
        launcher: what starts the jobs.
    """

    def __init__(self, config: DictConfig, context: HydraContext, launcher: Launcher) -> None:
        self.config, self.context, self.launcher = config, context, launcher
        self.folder = Path(str(config.hydra.sweep.dir)).resolve()

    def run(self, jobs: Mapping[int, Sequence[str]], *, resume: bool = False) -> list[Job]:
        """The jobs (number: overrides), over. A failing one takes no other down.

        Args:
            jobs: they are composed before the first starts, so that a wrong word stops the sweep at once.
            resume: take the stored objective of those that are finished, go on with those that have a checkpoint.

        Raises:
            SweepStopped: a signal arrived.
        """
        words = differing(jobs)
        over: dict[int, Job] = {}
        waiting: dict[int, tuple[list[str], Path]] = {}
        numbered = False
        try:
            for number, overrides in jobs.items():
                config, folder = self.compose(number, overrides)
                if resume and finished(folder):
                    over[number] = Job(number, words[number], folder, stored_objective(folder, config.objective))
                    continue
                pinned = [f"hydra.sweep.subdir={quoted(folder)}", *_going_on(folder)] if resume else []
                waiting[number] = [*overrides, *pinned], folder
                numbered = numbered or not resume or _knows_its_number(config)
            for numbers in batches(list(waiting), numbered):
                returns = self.launcher.launch([waiting[number][0] for number in numbers], initial_job_idx=numbers[0])
                for number, result in zip(numbers, returns, strict=True):
                    over[number] = _over(Job(number, words[number], waiting[number][1]), result)
        except TrainingInterrupted as interrupted:
            raise SweepStopped(interrupted.signal, self.folder) from None
        except KeyboardInterrupt:
            raise SweepStopped(signal.SIGINT, self.folder) from None
        return [over[number] for number in jobs]

    def compose(self, number: int, overrides: Sequence[str]) -> tuple[DictConfig, Path]:
        """The config of a job without Hydra's own, and its folder."""
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)
        try:
            folder = self.folder / str(config.hydra.sweep.subdir)
        finally:
            HydraConfig.instance().cfg = before
        return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), folder


def differing(jobs: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """What tells each of several jobs from the others: the overrides that not all of them have, but `resume=`."""
    shared = set.intersection(*(set(overrides) for overrides in jobs.values())) if jobs else set()
    return {
        number: " ".join(
            override
            for override in filter_overrides(overrides)
            if override not in shared and not override.startswith("resume=")
        )
        for number, overrides in jobs.items()
    }


def _going_on(folder: Path) -> list[str]:
    return [f"resume={quoted(folder)}"] if any((folder / "checkpoints").glob("*.ckpt")) else []


def _knows_its_number(config: DictConfig) -> bool:
    return re.search(r"hydra[:.]job\.(num|id)", str(OmegaConf.to_container(config, resolve=False))) is not None


def batches(numbers: list[int], numbered: bool) -> Iterator[list[int]]:
    """All at once; in runs without gaps where the numbers matter, because launchers count on from the first."""
    first = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or (numbered and numbers[index] != numbers[index - 1] + 1):
            yield numbers[first:index]
            first = index


def _over(job: Job, result: JobReturn) -> Job:
    if result.status is JobStatus.COMPLETED:
        return Job(job.number, job.words, job.folder, value=result.return_value)
    error = result._return_value
    first = next(iter(str(error).strip().splitlines()), "")
    line = first if isinstance(error, InputError | JobFailed) else f"{type(error).__name__}: {first}"
    return Job(job.number, job.words, job.folder, error=line)


def tell_failed(jobs: Sequence[Job]) -> int:
    """Says on standard error which jobs failed and why, in a line each; returns how many."""
    failed = [job for job in jobs if job.error is not None]
    for job in failed:
        print(f"ssl-pretrain: {job.name} failed: {job.error}", file=sys.stderr, flush=True)
    return len(failed)


def raise_if_failed(jobs: Sequence[Job], folder: Path) -> None:
    """Ends a sweep in which jobs failed.

    Raises:
        SweepFailed: at least one did.
    """
    if count := tell_failed(jobs):
        raise SweepFailed(
            f"{count} of {len(jobs)} jobs failed; try them again with: ssl-pretrain resume_sweep={folder}"
        )
