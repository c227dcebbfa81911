"""The processes of a run on several devices of one machine, which nothing else has started.

There is one for each device, and this one, which watches: whatever happens to one of them, the others end with it,
none is left behind, and a sweep goes on with its next job.
"""

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
from ssl_lightning.launch.interrupts import end_with_parent, forwarded, kill
from ssl_lightning.runs.folder import written_beside

Task = Callable[[DictConfig], Any]

GRACE = 15.0
"""Seconds that the other processes have to end, once one of them has."""
_ENDED = ("was ended from outside", "")
"""What became of a process that leaves no outcome; of one that met a defect, what and its traceback."""


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
                kill(*ranks.values())
                for process in ranks.values():
                    process.wait()
        places = [folder / str(rank) for rank in ranks]
        outcomes = [pickle.loads(place.read_bytes()) if place.exists() else _ENDED for place in places]
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
    first, end = None, float("inf")
    while any(process.poll() is None for process in ranks.values()) and time.monotonic() < end:
        failed = [rank for rank, process in ranks.items() if process.poll()]
        if failed and first is None:
            first, end = failed[0], time.monotonic() + GRACE
        time.sleep(0.05)
    return first


def _result(outcomes: list[Any], first: int | None, received: list[int]) -> Any:
    """What the processes came to together; `first` is the one that failed first."""
    for kind in (InputError, TrainingInterrupted):  # a mistake may be that a stopped run could not be queued again
        if found := [outcome for outcome in outcomes if isinstance(outcome, kind)]:
            raise found[0]
    if received:
        raise KeyboardInterrupt
    failed = {rank: outcome for rank, outcome in enumerate(outcomes) if isinstance(outcome, tuple)}
    if not failed:
        return outcomes[0]
    cause = min(failed, key=lambda rank: (failed[rank] != _ENDED, rank != first))  # of the others' errors
    what, trace = failed[cause]
    print(trace, file=sys.stderr, end="")
    folder = HydraConfig.get().runtime.output_dir
    raise RunFailed(f"process {cause} of {len(outcomes)} {what}; resume the run with: ssl-pretrain resume={folder}")


def _rank_main(folder: Path) -> int:
    """One process of a run: its exit status; what it came to lies in `folder`, under its number."""
    end_with_parent(signal.SIGKILL)
    task, config, hydra = pickle.loads((folder / "task").read_bytes())
    HydraConfig.instance().set_config(hydra)
    try:
        outcome = task(config)
    except TrainingInterrupted as stop:
        outcome = stop
    except BaseException as error:
        outcome = mistake_behind(error) or (f"failed: {described(error)}", traceback.format_exc())
    with written_beside(folder / os.environ["RANK"]) as beside:
        beside.write_bytes(pickle.dumps(outcome))
    return int(isinstance(outcome, InputError | tuple))


if __name__ == "__main__":
    code = _rank_main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
