"""Processes forked from one that has imported everything: real ones, without the seconds that imports take."""

import atexit
import multiprocessing as mp
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import ssl_lightning

_PACKAGE = Path(ssl_lightning.__file__).parent
_OURS = [
    ".".join(("ssl_lightning", *file.relative_to(_PACKAGE).with_suffix("").parts))
    for file in sorted(_PACKAGE.glob("*/**/*.py"))
    if "plugins" not in file.parts and file.stem != "__init__" and file.name != "command.py"
]
"""All rooms; but what adds to `sys.path` as it is imported, which a fork takes from the process that wants it."""
_MODELS = ("bert", "bart", "llama", "gpt2", "qwen3", "modernbert")
_LATE = (
    "sklearn.datasets",
    "sklearn.manifold",
    "sklearn.linear_model",
    "matplotlib.backends.backend_agg",
    "cloudpickle",
    *(f"hydra._internal.core_plugins.{name}" for name in ("basic_launcher", "basic_sweeper", "file_config_source")),
    "rich._emoji_codes",
)
"""What a run imports only once it needs it."""

context = mp.get_context("forkserver")
"""Starts processes as forks of one warm process, which ends with the one that runs the tests."""
context.set_forkserver_preload(
    [
        "pytest",
        *_OURS,
        *(f"transformers.models.{name}.modeling_{name}" for name in _MODELS),
        *_LATE,
    ]
)


def start(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """A process, in a session of its own, that calls `function(*arguments)` and ends as Python ends."""
    process = context.Process(target=_enter, args=(function, arguments))
    process.start()
    return process


def _enter(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in the background without it
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
    """`ssl-<name>` while it runs; what it says is kept in files. As `subprocess.Popen` where their names agree.

    Ranks and jobs that it starts are forks of it, or with `interpreters`, as for a user, interpreters of their own.
    The packages that it is `without` cannot be imported.
    """

    def __init__(
        self,
        name: str,
        *arguments: str,
        cwd: Path,
        interpreters: bool = False,
        without: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.args = [f"ssl-{name}", *arguments]
        self.stdout, self.stderr = _file(), _file()
        said = (self.stdout.name, self.stderr.name)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self._process = start(_command, self.args, str(cwd), environment, said, interpreters, without)
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


def _command(
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    said: Iterable[str],
    interpreters: bool,
    without: Iterable[str],
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, file in enumerate(said, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    sys.argv = arguments
    _hide(set(without))
    if not interpreters:
        subprocess.Popen = Fork  # type: ignore[misc]
    import_module(f"ssl_lightning.{arguments[0].removeprefix('ssl-')}").main()


def _hide(packages: set[str]) -> None:
    """They cannot be imported, and our modules that have imported them are as if they had not been."""
    for name in [name for name in sys.modules if name.startswith("ssl_lightning.")]:
        values = vars(sys.modules[name]).values()
        if packages & {value.__name__ for value in values if isinstance(value, ModuleType)}:
            del sys.modules[name]
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]


class Fork(subprocess.Popen):
    """Python that a process starts, `-m MODULE` or `-c CODE`, as its fork: it need not import all again."""

    _others: list[subprocess.Popen] = []

    def _execute_child(self, args: Any, *rest: Any) -> None:  # type: ignore[override]
        if args[0] != sys.executable:
            return super()._execute_child(args, *rest)  # type: ignore[misc]
        environment, pipes = rest[5], rest[9:15]
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            for process in (*self._others, self):
                if process.stdin:
                    process.stdin.close()  # its end belongs to the parent alone
            _python(args[1:], environment, (pipes[0], pipes[3], pipes[5]))
        self._child_created = True
        self._others.append(self)
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        return None


def _python(arguments: list[str], environment: dict[str, str], files: Iterable[int]) -> None:
    """What the interpreter does with these arguments, in this forked process, which ends."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in the background without it
    _forget_exit_hooks()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files):
        if file >= 0:
            os.dup2(file, number)
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    torch.set_num_threads(1)  # renews the pool that a fork inherits, before several threads find it at once
    kind, what, *sys.argv[1:] = arguments
    status: Any = 0
    try:
        exec(what, {"__name__": "__main__"}) if kind == "-c" else runpy.run_path(_file_of(what), run_name="__main__")
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _file_of(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


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
