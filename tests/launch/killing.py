"""Runs that kill themselves with SIGKILL at a chosen place, in processes of their own, as often as wanted."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from composition import whole
from omegaconf import DictConfig
from runs.harness import ONE_PENALTY, run_composed
from runs.warm import start

from ssl_lightning.callbacks.health import Health
from ssl_lightning.callbacks.probe import Probe
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.methods.base import Method
from ssl_lightning.runs import checkpoints
from ssl_lightning.runs.metrics import Metrics

PLACES: dict[str, tuple[Any, str]] = {
    "in a step": (Method, "optimizer_step"),
    "in validation": (Method, "validation_step"),
    "with a checkpoint half written": (os, "fsync"),
    "with a checkpoint written and not yet in its place": (checkpoints.os, "link"),
    "before metrics are saved": (Metrics, "save"),
}
"""Where any run can be killed, several times: just before a call of (object, name)."""
AT_AN_END: dict[str, tuple[Any, str]] = {
    "in a probe": (Probe, "measure"),
    "in what ends a training": (Health, "_measure_frozen"),
}
"""Where a run that is probed can be killed at its start, and at the end of an epoch or at its end."""


def _kill_at(place: str, count: int) -> None:
    """SIGKILL to this process just before call number `count`, from 1, of what is at `place`."""
    owner, name = {**PLACES, **AT_AN_END}[place]
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += name != "fsync" or ".ckpt" in os.readlink(f"/proc/self/fd/{args[0]}")
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def _run(folder: Path, config: DictConfig, kill: tuple[str, int] | None, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    os.chdir(folder.parent)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    PROTOCOLS["v1"] = ONE_PENALTY
    if kill is not None:
        _kill_at(*kill)
    run_composed("pretrain", folder, config)


def run(folder: Path, *overrides: str, kill: tuple[str, int] | None = None, world_size: int = 1, rank: int = 0) -> bool:
    """Trains in `folder` in `world_size` processes; whether it came to its end. `kill`: (place, count), in `rank`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = []
    for number in range(world_size):
        environment: dict[str, str] = {}
        if world_size > 1:
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0"}
            environment |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(world_size)}
        arguments = (folder, whole(*overrides), kill if number == rank else None, environment)
        processes.append(start(_run, *arguments))
    if kill is not None:  # as the process that watches a run does: where one is gone, the others end
        processes[rank].join()
        for process in processes:
            process.kill()
    for process in processes:
        process.join()
    return all(process.exitcode == 0 for process in processes)
