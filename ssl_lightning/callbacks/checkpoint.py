"""`checkpoints/last.ckpt` and `checkpoints/best.ckpt`."""

import math
from pathlib import Path
from typing import Any, Literal

from lightning import Trainer

from ssl_lightning.callbacks.after_step import AfterStep
from ssl_lightning.distributed import all_reduce_max
from ssl_lightning.errors import NotSaved, TrainingInterrupted, warn
from ssl_lightning.ranges import PositiveInt
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.history import direction_of


class LastAndBest(AfterStep):
    """Saves the newest state at epochs, steps, on interruption and at the end, and the best by a held-out metric.

    A checkpoint that cannot be written (full disk) is told and tried again at the next occasion; the one before stays.
    If the very last one fails, the run ends as not saved.

    Args:
        monitor: metric that decides the best.
        mode: whether 'max' or 'min' is better; None: as it is of the monitor (runs/metrics.py).
        every_n_epochs: how often the newest state is saved.
        every_n_steps: also within epochs, every so many optimizer steps; None for not.
    """

    def __init__(
        self,
        monitor: str = "probe/knn_accuracy",
        mode: Literal["max", "min"] | None = None,
        every_n_epochs: PositiveInt = 1,
        every_n_steps: PositiveInt | None = None,
    ) -> None:
        self.monitor, self.sign = monitor, 1.0 if (mode or direction_of(monitor)) == "max" else -1.0
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.best = -math.inf
        self.saved_at = -1
        self.stops = False
        self.known: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        early = trainer.global_step < trainer.estimated_stepping_batches
        checkpoint["should_stop"] = trainer.should_stop and early  # such as EarlyStopping has decided

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.stops = checkpoint.get("should_stop", False) and self.run.read_results().get("status") != "finished"

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.run = RunFolder(Path(trainer.default_root_dir))

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.should_stop = trainer.should_stop or self.stops
        self.known = trainer.callback_metrics.get(self.monitor)  # that of the untrained encoder, or of a run resumed

    def after_step(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if self.every_n_steps and step % self.every_n_steps == 0 and step != self.saved_at:
            self._save(trainer, self.run.last)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.check_val_every_n_epoch is None:  # validation goes by steps
            self._keep_best(trainer)
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._keep_best(trainer)
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._save(trainer, self.run.last)
        super().on_train_epoch_end(trainer, pl_module)

    def _keep_best(self, trainer: Trainer) -> None:
        found = trainer.callback_metrics.get(self.monitor)
        here = -math.inf if found is None or found is self.known else self.sign * float(found)
        score = trainer.strategy.broadcast(here)  # a callback of the user's may log on the first process alone
        if score > self.best:
            before, self.best = self.best, score
            if not self._save(trainer, self.run.best):
                self.best = before

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, TrainingInterrupted):
            self._save_end(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.saved_at != trainer.global_step:
            self._save_end(trainer)

    def _save(self, trainer: Trainer, path: Path) -> bool:
        for logger in trainer.loggers:
            logger.save()  # first, so that no row is lost that a run going on from here would not write again
        trainer.save_checkpoint(path)
        failure: OSError | None = getattr(trainer.strategy.checkpoint_io, "failure", None)
        if failure is not None:
            warn(f"{path} was not written ({failure.strerror}); training goes on, the one before it stays")
        if all_reduce_max(failure is not None):
            return False
        if path == self.run.last:
            self.saved_at = trainer.global_step
        return True

    def _save_end(self, trainer: Trainer) -> None:
        if not self._save(trainer, self.run.last):
            raise NotSaved(
                f"the end of this run could not be saved: make room, then ssl-pretrain resume={self.run.path}"
            )
