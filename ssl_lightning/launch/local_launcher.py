"""Jobs of a sweep side by side on one machine: each is the command itself, with its own GPUs and threads."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from ssl_lightning.errors import InputError, TrainingInterrupted
from ssl_lightning.hardware import cores
from ssl_lightning.launch.interrupts import ENDING, forwarded, kill
from ssl_lightning.launch.jobs import compose_job, job_names
from ssl_lightning.launch.sweep_folder import as_written
from ssl_lightning.runs.folder import RunFolder, quoted

_POLL = 0.1
"""Seconds between two looks at the processes."""
_COMMAND = """
from ssl_lightning.launch.interrupts import end_with_parent
end_with_parent({signal})
from ssl_lightning.{name} import main
main(prepared=True)
"""


@dataclass(frozen=True)
class LocalJob:
    """A job before it starts: the words behind its command, its composed config, and its folder."""

    name: str
    arguments: list[str]
    config: DictConfig
    folder: Path

    @property
    def log(self) -> Path:
        """What the job prints."""
        return self.folder / "output.log"

    def start(self, command: str, environment: Mapping[str, str]) -> subprocess.Popen:
        """The process of `ssl-<command>`; it is told to end when this one is gone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        print(f"{self.name} writes {self.log}", flush=True)
        path = os.pathsep.join(path or os.getcwd() for path in sys.path)
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-c", _COMMAND.format(name=command, signal=int(signal.SIGTERM)), *self.arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path, **environment},
                start_new_session=True,  # Ctrl-C at the terminal reaches it through us alone, and once
            )

    def result(self, status: int) -> JobReturn:
        """What a job that ended with an exit status left in its folder, or how it failed."""
        number = -status if status < 0 else status - 128
        lines = self.log.read_text(errors="replace").strip().splitlines()
        last = re.sub("^ssl-[a-z]+: ", "", lines[-1])[:1000] if lines else f"exit status {status}"
        why = f"it was ended by {signal.Signals(number).name}" if number in list(signal.Signals) else last
        print(f"{self.name} failed: {why}; see {self.log}" if status else f"{self.name} is finished", flush=True)
        if status:
            return JobReturn(status=JobStatus.FAILED, _return_value=InputError(f"{why}; see {self.log}"))
        metrics = RunFolder(self.folder).read_results().get("metrics", {})
        return JobReturn(status=JobStatus.COMPLETED, _return_value=metrics.get(self.config.get("objective")))


def local_jobs(sweep: Any, overrides: Sequence[Sequence[str]], first: int) -> list[LocalJob]:
    """The jobs of a sweep, numbered from `first`, as commands of their own; `sweep` is its sweeper or launcher."""
    sources = [s for s in sweep.config.hydra.runtime.config_sources if s.provider == "command-line"]
    options = [f"--config-dir={source.path.removeprefix('file://')}" for source in sources]
    options += as_written(sweep.config.hydra.overrides.hydra)
    jobs = []
    for number, (name, own) in enumerate(zip(job_names(overrides, first), overrides, strict=True), start=first):
        config, folder = compose_job(sweep, number, own)
        run = ["hydra.mode=RUN", f"hydra.run.dir={quoted(folder)}"]
        run += [f"hydra.job.num={number}", f"hydra.job.id='{number}'"]
        jobs.append(LocalJob(name, [*options, *own, *run], config, folder))
    return jobs


def run_side_by_side(jobs: Sequence[LocalJob], *, command: str, n_jobs: int, threads: int | None) -> list[JobReturn]:
    """Runs every job in a process of its own, `n_jobs` at a time; what a job prints goes to its `output.log`.

    Args:
        jobs: in the order of the results.
        command: the `ssl-...` that they are jobs of.
        n_jobs: how many at once.
        threads: CPU threads of each of a job's processes; None shares the cores out.

    Raises:
        InputError: a job wants more GPUs than there are.
        TrainingInterrupted: SIGINT, SIGTERM or SIGHUP arrived; it was passed on, and every job has ended.
    """
    gpus, waiting = _gpus(), list(jobs)
    running: dict[int, subprocess.Popen] = {}
    taken: dict[int, LocalJob] = {}
    returns: dict[Path, JobReturn] = {}
    with forwarded(running, ENDING, patience=90) as received:  # longer than a job's own processes have
        try:
            while running or (waiting and not received):
                for slot in range(n_jobs):
                    if slot in running and running[slot].poll() is not None:
                        process, job = running.pop(slot), taken[slot]
                        kill(process)  # what it left behind, if it was killed itself
                        returns[job.folder] = job.result(process.returncode)
                    if slot not in running and waiting and not received:
                        taken[slot] = job = waiting.pop(0)
                        running[slot] = job.start(command, environment(job.config, slot, n_jobs, threads, gpus))
                time.sleep(_POLL)
        finally:
            for process in running.values():
                process.terminate()
    if received:
        raise TrainingInterrupted(received[0], 0)
    return [returns[job.folder] for job in jobs]


def environment(config: DictConfig, slot: int, n_jobs: int, threads: int | None, gpus: Sequence[str]) -> dict[str, str]:
    """Threads and GPUs of the job in a slot; GPUs are shared out by `trainer.devices`, where that is a number."""
    given = config.get("trainer", {}).get("devices")
    devices = given if isinstance(given, int) and given > 0 else 0
    count = threads or int(os.environ.get("OMP_NUM_THREADS") or max(1, cores() // (n_jobs * max(1, devices))))
    environment = {"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count)}
    if gpus and devices > len(gpus):
        raise InputError(f"trainer.devices={devices}, but there are {len(gpus)} GPUs here")
    if gpus and devices:
        mine = [gpus[(slot * devices + index) % len(gpus)] for index in range(devices)]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
    return environment


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
