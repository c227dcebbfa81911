"""How a run says that it was asked to stop."""

import os
import signal as signals
import subprocess
from pathlib import Path

REQUEUE = tuple(getattr(signals, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signals, name))
"""What a scheduler sends before it takes the machine away: the job is to be queued again."""
SIGNALS = (signals.SIGINT, signals.SIGTERM, *REQUEUE)


class Interrupted(BaseException):
    """A signal arrived; the step it arrived in was finished and the run can go on from its checkpoint.

    Not an `Exception`, so that a sweep stops too instead of counting one failed job.
    """

    def __init__(self, signal: int, step: int, folder: Path | None = None) -> None:
        super().__init__(f"stopped after step {step}; go on with: ssl-pretrain resume={folder}")
        self.signal, self.step, self.folder = signal, step, folder


def requeue(limit: int) -> None:
    """Puts the SLURM job that this process is in back in the queue, unless it was started `limit` times again."""
    job, starts = os.environ.get("SLURM_JOB_ID"), int(os.environ.get("SLURM_RESTART_COUNT", 0))
    if job is None:
        return
    if starts >= limit:
        print(f"job {job} was started {starts} times again, as often as max_requeues allows", flush=True)
        return
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"job {job} could not be queued again: {done.stderr.strip()}", flush=True)
