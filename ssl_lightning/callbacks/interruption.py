"""Ctrl-C and signals from a scheduler: finish the step, write a checkpoint, stop."""

import signal
from types import FrameType
from typing import Any

import lightning

from ssl_lightning.runs.stop import Interrupted


class Interruption(lightning.Callback):
    """The first SIGINT or SIGTERM ends training after the current optimizer step; a second one ends it at once.

    `runs.stop.Interrupted` carries the news out of the Trainer after the checkpoint callback has saved.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.before: dict[int, Any] = {}

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.received = None
        for name in (signal.SIGINT, signal.SIGTERM):
            self.before[name] = signal.signal(name, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        self.received = number
        print("\nstopping after this step; once more to stop at once", flush=True)

    def _restore(self) -> None:
        for name, handler in self.before.items():
            signal.signal(name, handler)
        self.before.clear()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self.received is not None and (whole_step or trainer.is_last_batch):
            raise Interrupted(self.received, trainer.global_step)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self._restore()
