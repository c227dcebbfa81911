"""A DataLoader that asks where to begin only when its first batch is wanted."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from ssl_lightning.data.sampler import BatchSampler

_SECONDS_TO_FINISH = 30
"""SLURM's default (KillWait) between SIGTERM and SIGKILL."""


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(worker: int) -> None:
    """Signals often go to all processes of a job; the one that trains still needs its workers, to finish its step.

    A worker that was asked to end (as Python itself does at its exit) ends by itself a little later.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_SECONDS_TO_FINISH) and None)
    threading.Thread(target=_end_with_the_trainer, daemon=True).start()


def _end_with_the_trainer() -> None:
    """PyTorch's watchdog asks only for the worker's parent: a fork server, which lives on as long as a worker does."""
    trainer = multiprocessing.parent_process()
    assert trainer is not None
    trainer.join()
    os._exit(1)


class Loader:
    """Iterable of batch dicts over a data set with `__getitems__`.

    `position() -> (epoch, batch)` is called when the first batch of an epoch is asked for. Lightning makes the
    iterator before it has restored its progress, and workers prefetch as soon as they exist; asked this late, the
    answer is right, and a resumed run reads exactly the batches that it had not begun. `len` is always the whole
    epoch, which is what Lightning holds its count against. `state_dict` is empty: there is nothing to save.
    `keep_workers` from one epoch to the next, until `close`.
    """

    def __init__(
        self,
        dataset: Any,
        sampler: BatchSampler,
        num_workers: int = 0,
        pin_memory: bool = False,
        position: Callable[[], tuple[int, int]] | None = None,
        keep_workers: bool = True,
    ) -> None:
        self.batch_sampler = sampler
        self.position = position
        self._loader: Any = DataLoader(
            dataset,
            batch_sampler=sampler,  # type: ignore[arg-type]  # an array of positions instead of a list
            collate_fn=_as_it_is,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0 and keep_workers,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # the workers' base seed would otherwise be drawn from the global RNG
        )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[dict]:
        if self.position is not None:
            self.batch_sampler.set_epoch(*self.position())
        yield from self._loader

    def close(self) -> None:
        """Ends the workers now. Left to the garbage collector, they may end in the middle of another run's step."""
        iterator, self._loader._iterator = self._loader._iterator, None
        if iterator is not None:
            iterator._shutdown_workers()

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Nothing to restore: `position` tells the place."""
