import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs.warm import processes_of, start, until

from ssl_lightning.data.loader import Loader
from ssl_lightning.data.sampler import BatchSampler


class Positions:
    """A set whose samples are their own positions."""

    def __getitems__(self, indices: np.ndarray) -> dict[str, Any]:
        return {"index": np.asarray(indices), "process": os.getpid()}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"])
def test_workers_outlive_the_signals_of_a_scheduler(name: str) -> None:
    loader = Loader(Positions(), BatchSampler(100, 10, training=False), num_workers=1)
    batches = iter(loader)
    seen = [next(batches)]
    for _ in range(2):
        os.kill(seen[0]["process"], getattr(signal, name))
    seen += list(batches)
    assert np.concatenate([batch["index"] for batch in seen]).tolist() == list(range(100))
    assert {batch["process"] for batch in seen} == {seen[0]["process"]}
    loader.close()
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0]["process"], 0)


def _read_and_be_killed(folder: Path, method: str) -> None:
    os.chdir(folder)
    multiprocessing.set_start_method(method, force=True)
    batches = iter(Loader(Positions(), BatchSampler(100, 10, training=False), num_workers=2))
    assert next(batches)["process"] in processes_of(folder)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_end_with_a_killed_run(tmp_path: Path, method: str) -> None:
    """Also where a fork server starts them, as Python does from 3.14 on."""
    process = start(_read_and_be_killed, tmp_path, method)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    until(lambda: processes_of(tmp_path) == [], 30)
