"""Ctrl-C and signals from a scheduler: finish the step, write a checkpoint, stop."""

import signal
from types import FrameType
from typing import Any

from lightning import Trainer

from ssl_lightning.callbacks.after_step import AfterStep
from ssl_lightning.distributed import all_reduce_max
from ssl_lightning.errors import TrainingInterrupted
from ssl_lightning.launch.interrupts import REQUEUE, SIGNALS, catch, leave_closed_terminal

_REQUEUED = 1024
"""Above the number of any signal."""


def _weight(number: int) -> int:
    """Of several signals, one that asks for another start counts: before SLURM kills a job, it sends SIGTERM too."""
    return number + _REQUEUED * (number in REQUEUE)


class GracefulStop(AfterStep):
    """The first signal, to any process of the run, ends it after the current optimizer step; a second Ctrl-C at once.

    The other signals may come several times: a scheduler tells all processes, and each tells those that it started.
    `TrainingInterrupted` carries the news out of the Trainer; the checkpoint callback saves when it passes.
    """

    def __init__(self) -> None:
        self.received = 0
        self.before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.received = 0
        self.before = catch(SIGNALS, self._receive)  # only now: Lightning sets its own a moment before

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._restore()
        leave_closed_terminal()
        if not self.received:
            also = "; press Ctrl-C again to quit now" if number == signal.SIGINT else ""
            print(f"\nstopping after this step{also}", flush=True)
        self.received = max(self.received, number, key=_weight)

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before.clear()

    def after_step(self, trainer: Trainer) -> None:
        if weight := all_reduce_max(_weight(self.received)):
            raise TrainingInterrupted(weight % _REQUEUED, trainer.global_step)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self._restore()
