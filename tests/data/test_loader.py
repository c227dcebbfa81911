import os
import signal
from typing import Any

import numpy as np
import pytest

from ssl_lightning.data.loader import Loader
from ssl_lightning.data.sampler import BatchSampler


class Positions:
    """A set whose samples are their own positions."""

    def __getitems__(self, indices: np.ndarray) -> dict[str, Any]:
        return {"index": np.asarray(indices), "process": os.getpid()}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"])
def test_workers_outlive_the_signals_of_a_scheduler(name: str) -> None:
    loader = Loader(Positions(), BatchSampler(100, 10, shuffle=False), num_workers=1)
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
