"""One job of `hydra/launcher=local`: `python -m ssl_lightning.launch.local_job`, which `local_jobs.py` starts."""

import importlib
import json
import os
import pickle
import signal
import sys
import threading
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from hydra.version import setbase

from ssl_lightning.errors import InputError, TrainingInterrupted


def main() -> int:
    """Runs the job that comes as a pickle on standard input; answers on the pipe whose number is the argument."""
    answer = int(sys.argv[1])
    os.set_inheritable(answer, False)
    job = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    setbase("1.3")  # as `command` does for the sweep itself
    setup_globals()
    JobRuntime().set("name", job["config"].hydra.job.name)
    task = importlib.import_module(f"ssl_lightning.{job['command']}").main.job
    try:
        result = run_job(
            hydra_context=HydraContext(config_loader=None, callbacks=Callbacks()),  # type: ignore[arg-type]
            task_function=task,
            config=job["config"],
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except TrainingInterrupted as interrupted:
        print(interrupted, flush=True)
        return 128 + interrupted.signal
    except KeyboardInterrupt:
        return 130
    os.write(answer, json.dumps(_said(result), default=float).encode())
    return 0


def _said(result: JobReturn) -> dict[str, Any]:
    if result.status is JobStatus.COMPLETED:
        return {"value": result.return_value}
    error = result._return_value
    first = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, InputError):
        return {"error": first, "mistake": True}
    return {"error": f"{type(error).__name__}: {first}"[:1000]}


def _end_with_the_sweep() -> None:
    """Nothing comes on standard input until the sweep is gone, however it went: then this job saves and ends too."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
