"""The processes of a run on several devices of one machine, which nothing else has started.

There is one for each device, and this one, which watches: whatever happens to one of them, the others end with it,
none is left behind, and a sweep goes on with its next job.
"""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ssl_lightning.errors import InputError, RunFailed, TrainingInterrupted, described, mistake_behind
from ssl_lightning.launch.environment import launcher, local_devices
from ssl_lightning.launch.interrupts import SIGNALS, end_with_parent, forwarded, kill
from ssl_lightning.runs.folder import write_json

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
        InputError, TrainingInterrupted: what a process met.
        RunFailed: a process was killed, or met a defect, whose traceback is printed.
    """
    with tempfile.TemporaryDirectory(prefix="ssl-lightning-") as name:
        folder = Path(name)
        (folder / "task").write_bytes(pickle.dumps((task, config, HydraConfig.instance().cfg)))
        ranks = _start(folder, count)
        with forwarded(ranks) as received:
            try:
                first = _wait(ranks)
            finally:
                for process in ranks.values():
                    kill(process)
                    process.wait()
        places = [folder / f"{rank}.json" for rank in ranks]
        outcomes = [json.loads(place.read_text()) if place.exists() else {} for place in places]
    return _result(outcomes, first, received)


def _start(folder: Path, count: int) -> dict[int, subprocess.Popen]:
    from ssl_lightning.hardware import cores

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "NODE_RANK": "0"}
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // count))}
    command = [sys.executable, "-m", "ssl_lightning.launch.local_ranks", str(folder)]
    return {
        rank: subprocess.Popen(
            command,
            env={**threads, **os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        for rank in range(count)
    }


def _wait(ranks: dict[int, subprocess.Popen]) -> int | None:
    """Until all have ended, or `GRACE` seconds after the first that failed: its number."""
    well = {None, 0, *(128 + number for number in SIGNALS)}
    first, end = None, float("inf")
    while any(process.poll() is None for process in ranks.values()) and time.monotonic() < end:
        failed = [rank for rank, process in ranks.items() if process.poll() not in well]
        if failed and first is None:
            first, end = failed[0], time.monotonic() + GRACE
        time.sleep(0.05)
    return first


def _result(outcomes: list[dict[str, Any]], first: int | None, received: list[int]) -> Any:
    """What the processes came to; `first` is the one that failed first."""
    found = {kind: what for outcome in reversed(outcomes) for kind, what in outcome.items()}
    if "interrupted" in found and "mistake" not in found:  # which would be that it could not be queued again
        raise TrainingInterrupted(*found["interrupted"])
    if received:
        raise KeyboardInterrupt
    if "mistake" in found:
        message, status = found["mistake"]
        raise (RunFailed if status == RunFailed.exit_status else InputError)(message)
    ended = [rank for rank, outcome in enumerate(outcomes) if not outcome]  # of the others' errors the cause
    failed = [*ended, *([] if first is None else [first]), *(n for n, one in enumerate(outcomes) if "value" not in one)]
    if not failed:
        return outcomes[0]["value"]
    what, trace = outcomes[failed[0]].get("defect", ("was ended from outside", ""))
    print(trace, file=sys.stderr, end="")
    folder = HydraConfig.get().runtime.output_dir
    raise RunFailed(f"process {failed[0]} of {len(outcomes)} {what}; resume the run with: ssl-pretrain resume={folder}")


def _rank_main(folder: Path) -> int:
    """One process of a run: its exit status; what it met lies in `folder`, under its number."""
    end_with_parent(signal.SIGKILL)
    task, config, hydra = pickle.loads((folder / "task").read_bytes())
    HydraConfig.instance().set_config(hydra)
    outcome: dict[str, Any]
    try:
        outcome, status = {"value": task(config)}, 0
    except TrainingInterrupted as stop:
        outcome, status = {"interrupted": [stop.signal, stop.step, str(stop.folder)]}, 128 + stop.signal
    except BaseException as error:
        if mistake := mistake_behind(error):
            outcome, status = {"mistake": [str(mistake), mistake.exit_status]}, mistake.exit_status
        else:
            outcome, status = {"defect": [f"failed: {described(error)}", traceback.format_exc()]}, 1
    write_json(folder / f"{os.environ['RANK']}.json", outcome)
    return status


if __name__ == "__main__":
    code = _rank_main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
