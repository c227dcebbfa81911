"""Ctrl-C and signals from a scheduler: finish the step, write a checkpoint, stop."""

import signal
from types import FrameType
from typing import Any

from lightning import Trainer

from ssl_lightning.callbacks.after_step import AfterStep
from ssl_lightning.distributed import all_reduce_max
from ssl_lightning.errors import TrainingInterrupted
from ssl_lightning.launch.interrupts import SIGNALS, catch, leave_closed_terminal


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
        self.received = max(self.received, 1 + SIGNALS.index(number))

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before.clear()

    def after_step(self, trainer: Trainer) -> None:
        if last := all_reduce_max(self.received):
            raise TrainingInterrupted(SIGNALS[last - 1], trainer.global_step)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self._restore()
