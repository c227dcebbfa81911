"""How a run says that it was asked to stop."""

import os
import signal as signals
import subprocess
from pathlib import Path

from ssl_lightning.errors import InputError

REQUEUE = tuple(getattr(signals, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signals, name))
"""What a scheduler sends before it takes the machine away: the job is to be queued again."""
SIGNALS = (signals.SIGINT, signals.SIGTERM, *REQUEUE)


def requeue(limit: int, folder: Path) -> None:
    """Puts the SLURM job that this process is in, if any, back in the queue.

    Raises:
        InputError: it was started `limit` times again, or SLURM refuses; the message says how to go on by hand.
    """
    job = slurm_job()
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
    raise InputError(f"job {job} {refusal}; go on with: ssl-pretrain resume={folder}")


def slurm_job() -> str | None:
    """The SLURM job of this process as `scontrol` takes it, None outside of SLURM.

    One job of an array needs its own number: to SLURM, the plain id of one of them is that of the whole array.
    """
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{number}" if array and number else os.environ.get("SLURM_JOB_ID")
