"""Jobs of a sweep in processes side by side on one machine: who gets which GPUs and threads, and how they are ended."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from ssl_lightning.errors import InputError, TrainingInterrupted
from ssl_lightning.launch.jobs import JobFailed, differing

_POLL = 0.1
"""Seconds between two looks at the processes."""
_PATIENCE = 30.0
"""Seconds that a job has to end after the sweep itself failed."""


def run_side_by_side(
    configs: Sequence[DictConfig], *, command: str, n_jobs: int, threads: int | None
) -> list[JobReturn]:
    """Runs every composed job in a process of its own, `n_jobs` at a time; what a job prints goes to its `output.log`.

    Args:
        configs: of the jobs, Hydra's part included.
        command: the `ssl-...` that they are jobs of.
        n_jobs: how many at once.
        threads: CPU threads of each of a job's processes; None shares the cores out.

    Raises:
        InputError: numbers that cannot be.
        TrainingInterrupted: SIGINT or SIGTERM arrived; it was passed on, and every job has ended.
    """
    if n_jobs < 1 or (threads is not None and threads < 1):
        raise InputError(f"hydra.launcher.n_jobs={n_jobs} and hydra.launcher.threads={threads} must be 1 or more")
    gpus = _gpus()
    waiting = list(enumerate(configs))
    words = differing({index: list(config.hydra.overrides.task) for index, config in waiting})
    free = list(range(n_jobs))[::-1]
    running: dict[int, _Process] = {}
    returns: dict[int, JobReturn] = {}
    with _passing_signals_on(running) as received:
        while waiting or running:
            while waiting and free and not received:
                index, config = waiting.pop(0)
                slot = free.pop()
                own = environment(config, slot, n_jobs, threads, gpus)
                running[index] = _start(config, words[index], command, slot, own)
            time.sleep(_POLL)
            for index, process in list(running.items()):
                if process.popen.poll() is not None:
                    free.append(process.slot)
                    returns[index] = process.result()
                    del running[index]
            if received and not running:
                raise TrainingInterrupted(received[0], 0)
    return [returns[index] for index in range(len(configs))]


@dataclass
class _Process:
    popen: "subprocess.Popen[bytes]"
    slot: int
    answer: int
    """The reading end of the pipe on which the job says what came of it."""
    log: Path
    name: str

    def result(self) -> JobReturn:
        """What the job, which has ended, said; or how it ended if it said nothing."""
        assert self.popen.stdin is not None
        with suppress(BrokenPipeError):
            self.popen.stdin.close()
        try:
            answer = json.loads(os.read(self.answer, 1 << 16))
        except (BlockingIOError, ValueError):  # it was killed: nothing said, and its workers may still hold the pipe
            with suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            code = self.popen.returncode
            number = -code if code < 0 else code - 128
            how = signal.Signals(number).name if number in list(signal.Signals) else f"exit status {code}"
            answer = {"error": f"it was ended by {how}"}
        os.close(self.answer)
        if "error" in answer:
            mistake = answer.get("mistake", False)
            error = InputError(answer["error"]) if mistake else JobFailed(f"{answer['error']}; see {self.log}")
            print(f"{self.name} failed: {answer['error']}", flush=True)
            return JobReturn(status=JobStatus.FAILED, _return_value=error)
        print(f"{self.name} is finished", flush=True)
        return JobReturn(status=JobStatus.COMPLETED, _return_value=answer["value"])


def _start(config: DictConfig, words: str, command: str, slot: int, environment: dict[str, str]) -> _Process:
    folder = _folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.log"
    name = f"job {config.hydra.job.num} ({words})" if words else f"job {config.hydra.job.num}"
    read, write = os.pipe()
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", "ssl_lightning.launch.local_job", str(write)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path), **environment},
            pass_fds=[write],
            start_new_session=True,  # Ctrl-C at the terminal reaches it through us alone, and once
        )
    os.close(write)
    os.set_blocking(read, False)
    assert popen.stdin is not None
    with suppress(BrokenPipeError):
        pickle.dump({"command": command, "config": config}, popen.stdin)
        popen.stdin.flush()
    print(f"{name} writes {log}", flush=True)
    return _Process(popen, slot, read, log, name)


def _folder(config: DictConfig) -> Path:
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        return Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)).resolve()
    finally:
        HydraConfig.instance().cfg = before


def environment(config: DictConfig, slot: int, n_jobs: int, threads: int | None, gpus: Sequence[str]) -> dict[str, str]:
    """Threads and GPUs of the job in a slot; GPUs are shared out by `trainer.devices`, where that is a number."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    devices = config.get("trainer", {}).get("devices")
    processes = devices if isinstance(devices, int) and devices > 0 else 1
    threads = threads or int(os.environ.get("OMP_NUM_THREADS") or max(1, cores // (n_jobs * processes)))
    environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if gpus and isinstance(devices, int) and devices > 0:
        if devices > len(gpus):
            raise InputError(f"trainer.devices={devices}, but there are {len(gpus)} GPUs here")
        mine = [gpus[(slot * devices + index) % len(gpus)] for index in range(devices)]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
    return environment


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def _passing_signals_on(running: dict[int, _Process]) -> Iterator[list[int]]:
    """Gives the signals that arrived; each is passed to the jobs, the third ends them at once."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            print("\nstopping the jobs after their steps; once more to stop them at once", flush=True)
        _send(running, number if len(received) < 3 else signal.SIGKILL)

    before: dict[int, Any] = {name: signal.signal(name, receive) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        _send(running, signal.SIGTERM)
        until = time.monotonic() + _PATIENCE
        while any(process.popen.poll() is None for process in running.values()) and time.monotonic() < until:
            time.sleep(_POLL)
        _send(running, signal.SIGKILL)
        for name, handler in before.items():
            signal.signal(name, handler)


def _send(running: dict[int, _Process], number: int) -> None:
    for process in list(running.values()):
        if process.popen.poll() is None:
            if number == signal.SIGKILL:
                os.killpg(process.popen.pid, number)
            else:
                process.popen.send_signal(number)
