"""Processes forked from one that has imported everything: real ones, without the seconds that imports take."""

import atexit
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

import torch

_COMMANDS = ("train", "evaluate", "bench", "export", "generate")
_MODELS = ("bert", "bart", "llama", "gpt2", "qwen3", "modernbert")

context = mp.get_context("forkserver")
"""Starts processes as forks of one warm process, which ends with the one that runs the tests."""
context.set_forkserver_preload(
    [
        "pytest",
        *(f"ssl_lightning.commands.{name}" for name in _COMMANDS),
        *(f"transformers.models.{name}.modeling_{name}" for name in _MODELS),
    ]
)


def start(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """A process, in a session of its own, that calls `function(*arguments)` and ends as Python ends."""
    process = context.Process(target=_enter, args=(function, arguments))
    process.start()
    return process


def _enter(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.setsid()
    _forget_exit_hooks()
    mp.set_start_method(None, force=True)  # Python's own for what it starts in turn, not that of this module
    torch.set_num_threads(1)
    try:
        function(*arguments)
    finally:
        atexit._run_exitfuncs()


def _forget_exit_hooks() -> None:
    """Those of the warm process are not this one's: they would remove temporary folders that all of its forks share."""
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]


class Command:
    """`ssl-<name>` while it runs; what it says is kept in files. As `subprocess.Popen` where their names agree."""

    def __init__(self, name: str, *arguments: str, cwd: Path, **environment: str) -> None:
        self.args = [f"ssl-{name}", *arguments]
        self.stdout, self.stderr = _file(), _file()
        said = (self.stdout.name, self.stderr.name)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self._process = start(_command, self.args, str(cwd), environment, said)
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """As `subprocess` gives it: minus the number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it said, once it has ended; its whole session is killed if that takes more than `timeout` seconds."""
        self._process.join(timeout)
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(self.args, timeout or 0, self.stdout.read(), self.stderr.read())
        return self.stdout.read(), self.stderr.read()


def _file() -> IO[str]:
    return tempfile.NamedTemporaryFile("r", prefix="ssl-tests-")


def _command(arguments: list[str], cwd: str, environment: dict[str, str], said: Iterable[str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, file in enumerate(said, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    sys.argv = arguments
    import_module(f"ssl_lightning.{arguments[0].removeprefix('ssl-')}").main()


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Waits until the condition holds, and fails where it does not within that time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def processes_of(folder: Path) -> list[int]:
    """All processes that work in `folder`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cwd").resolve() == folder.resolve():
                found.append(int(place.name))
        except OSError:
            continue
    return found
