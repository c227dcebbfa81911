"""The processes of one run: those that torchrun or srun started, or those that a run starts itself on its machine.

A run on several local devices has a process for each, and one more that watches: whatever happens to one of them, the
others end with it, none is left behind, and a sweep goes on with its next job.
"""

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ssl_lightning.errors import InputError, TrainingInterrupted, mistake_behind
from ssl_lightning.launch.environment import launcher, local_devices
from ssl_lightning.launch.interrupts import SIGNALS

Task = Callable[[DictConfig], Any]

GRACE = 15.0
"""Seconds that the other processes have to end, once one of them has."""


def processes_to_start(trainer: DictConfig) -> int:
    """How many processes this one has to start for `config.trainer`; 1: none, it trains itself.

    Raises:
        InputError: several machines, and nothing that could start processes on the others.
    """
    if launcher() or "LOCAL_RANK" in os.environ:
        return 1
    if trainer.num_nodes > 1:
        raise InputError(f"trainer.num_nodes={trainer.num_nodes} needs srun or torchrun to start it on every machine")
    return local_devices(trainer.accelerator, trainer.devices, trainer.strategy)


def launch_ranks(task: Task, count: int, config: DictConfig) -> Any:
    """Runs `task(config)` in `count` processes of this machine; returns what it returns in the first of them.

    `task` is a function of a module, which the processes import.

    Raises:
        InputError, TrainingInterrupted: what a process met, or that one was killed.
        RuntimeError: a defect in a process; its traceback is printed.
    """
    with tempfile.TemporaryDirectory(prefix="ssl-lightning-") as folder:
        places = [Path(folder) / f"{rank}.json" for rank in range(count)]
        processes = _start(task, places, config)
        with _forwarded_signals(processes) as received:
            try:
                first = _wait(processes)
            finally:
                for process in processes:
                    process.kill()
                    process.wait()
        outcomes = [json.loads(place.read_text()) if place.exists() else {} for place in places]
    return _result(outcomes, first, received)


def _start(task: Task, places: list[Path], config: DictConfig) -> list[subprocess.Popen]:
    message = pickle.dumps((task, config, HydraConfig.instance().cfg))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = max(1, len(os.sched_getaffinity(0)) // len(places)) if hasattr(os, "sched_getaffinity") else 1
    processes = []
    for rank, place in enumerate(places):
        environment = {
            "OMP_NUM_THREADS": str(threads),
            **os.environ,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(len(places)),
            "NODE_RANK": "0",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
        }
        command = [sys.executable, "-m", "ssl_lightning.launch.local_ranks", str(place)]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)
        assert process.stdin is not None
        process.stdin.write(len(message).to_bytes(8, "big") + message)
        process.stdin.flush()
        processes.append(process)
    return processes


@contextlib.contextmanager
def _forwarded_signals(processes: list[subprocess.Popen]) -> Iterator[list[int]]:
    """Hands signals on, which the processes, being in sessions of their own, would not get from the terminal."""
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for process in processes:
            process.send_signal(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {name: signal.signal(name, forward) for name in SIGNALS}
    try:
        yield received
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _wait(processes: list[subprocess.Popen]) -> int | None:
    """Until all have ended, or `GRACE` seconds after the first that failed: its number."""
    well = {None, 0, *(128 + number for number in SIGNALS)}
    first, end = None, float("inf")
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        failed = [rank for rank, process in enumerate(processes) if process.poll() not in well]
        if failed and first is None:
            first, end = failed[0], time.monotonic() + GRACE
        time.sleep(0.05)
    return first


def _result(outcomes: list[dict[str, Any]], first: int | None, received: list[int]) -> Any:
    """What the processes came to; `first` is the one that failed first."""
    found = {outcome["kind"]: outcome for outcome in reversed(outcomes) if outcome}
    if "interrupted" in found and "input" not in found:  # which would be that it could not be queued again
        raise TrainingInterrupted(
            found["interrupted"]["signal"], found["interrupted"]["step"], found["interrupted"]["folder"]
        )
    if received:
        raise KeyboardInterrupt
    if "input" in found:
        raise InputError(found["input"]["message"])
    failed = outcomes[first] if first is not None else next((o for o in outcomes if o.get("kind") != "done"), None)
    if failed is None:
        return outcomes[0]["value"]
    if not failed:
        folder = HydraConfig.get().runtime.output_dir
        raise InputError(
            f"process {outcomes.index(failed)} of {len(outcomes)} was ended from outside;"
            f" go on with: ssl-pretrain resume={folder}"
        )
    print(failed["traceback"], file=sys.stderr)
    raise RuntimeError(failed["message"])


def _rank_main(place: Path) -> int:
    """One process of a run, its task on the standard input: its exit status; what it met lies in the file `place`."""
    from ssl_lightning.runs.folder import write_json

    size = int.from_bytes(os.read(0, 8), "big")
    message = b""
    while len(message) < size:
        message += os.read(0, size - len(message))
    task, config, hydra = pickle.loads(message)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    HydraConfig.instance().set_config(hydra)
    outcome: dict[str, Any]
    try:
        outcome, status = {"kind": "done", "value": task(config)}, 0
    except TrainingInterrupted as stop:
        outcome = {"kind": "interrupted", "signal": stop.signal, "step": stop.step, "folder": str(stop.folder)}
        status = 128 + stop.signal
    except BaseException as error:
        if cause := mistake_behind(error):
            outcome, status = {"kind": "input", "message": str(cause)}, 2
        else:
            message = f"{type(error).__name__}: {error}"
            outcome, status = {"kind": "error", "message": message, "traceback": traceback.format_exc()}, 1
    write_json(place, outcome)
    return status


def _end_with_parent() -> None:
    """Ends this process when the one that watches it is gone, which closes the pipe."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    code = _rank_main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
