"""How runs are told to stop, and how they tell the processes that they started."""

import errno
import os
import signal as signals
import subprocess
import termios
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ssl_lightning.errors import InputError

ENDING = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP)
REQUEUE = (signals.SIGUSR1, signals.SIGUSR2)
"""What a scheduler sends before it takes the machine away: the job is to be queued again."""
SIGNALS = (*ENDING, *REQUEUE)
"""Of several, the last in this order counts: before SLURM kills a job that is to be queued again, it sends SIGTERM."""


def catch(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Sets the handler of signals, but for a SIGHUP that `nohup` ignores; returns those before."""
    nohup = signals.getsignal(signals.SIGHUP) is signals.SIG_IGN
    return {n: signals.signal(n, handler) for n in numbers if not (nohup and n == signals.SIGHUP)}


def leave_closed_terminal() -> None:
    """Where the terminal is gone, what is printed from now on is no error."""
    for stream in (1, 2):
        try:
            termios.tcgetattr(stream)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


@contextmanager
def forwarded(
    processes: Mapping[Any, subprocess.Popen], numbers: tuple[int, ...] = SIGNALS, patience: float = 60.0
) -> Iterator[list[int]]:
    """Inside, hands signals on to processes in sessions of their own, which do not get them from the terminal.

    Gives the signals that have arrived. After one that asks to end, the processes have `patience` seconds, after a
    second a tenth of it; then they are killed.
    """
    received: list[int] = []
    timers: list[threading.Timer] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        leave_closed_terminal()
        for process in list(processes.values()):
            process.send_signal(number)
        if number in ENDING:
            wait = patience / 10 if timers else patience
            timers.append(threading.Timer(wait, lambda: kill(*processes.values())))
            timers[-1].start()

    before = catch(numbers, forward)
    try:
        yield received
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signals.signal(number, handler)


def kill(*processes: subprocess.Popen) -> None:
    """Ends processes that lead sessions, and all that they started there, at once."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signals.SIGKILL)


def end_with_parent(number: int) -> None:
    """From now on this process gets a signal when the one that started it is gone, which closes its standard input."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def requeue(limit: int, folder: Path) -> None:
    """Puts the SLURM job that this process is in, if any, back in the queue.

    Raises:
        InputError: it was started `limit` times again, or SLURM refuses; the message says how to resume by hand.
    """
    job, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    # to SLURM, the plain id of one job of an array is that of the whole array
    job = f"{job}_{number}" if job and number else os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    starts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    if starts >= limit:
        refusal = f"was started {starts} times again, as often as max_requeues allows"
    else:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        refusal = f"could not be queued again ({' '.join(done.stderr.split())})"
    raise InputError(f"job {job} {refusal}; resume it with: ssl-pretrain resume={folder}")
