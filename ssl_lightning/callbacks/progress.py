"""One bar for the whole training: rate, time left, loss and the newest probe."""

import time
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ssl_lightning.ranges import NonNegativeFloat


class TrainingProgress(ProgressBar):
    """A rich bar in a terminal; elsewhere (a file, a cluster's log) a line every `every_n_seconds`.

    Args:
        every_n_seconds: time between lines where there is no terminal, in seconds.
    """

    def __init__(self, every_n_seconds: NonNegativeFloat = 15.0) -> None:
        super().__init__()
        self.every_n_seconds = every_n_seconds
        self.console = Console()
        self.bar: Progress | None = None
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.total = int(trainer.estimated_stepping_batches)
        self.first = trainer.global_step
        self.began = self.shown = 0.0
        if self.enabled and self.console.is_terminal:
            self.bar = Progress(
                BarColumn(bar_width=16),
                TextColumn("{task.completed}/{task.total}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                TextColumn("[cyan]{task.fields[figures]}"),
                console=self.console,
            )
            self.bar.start()
            self.task = self.bar.add_task("training", total=self.total, completed=self.first, figures="")

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not self.began:
            self.began = self.shown = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.monotonic()
        last = trainer.global_step >= self.total
        if not self.enabled or (now - self.shown < (0.25 if self.bar else self.every_n_seconds) and not last):
            return
        self.shown = now
        figures = self._figures(trainer, float(self._loss(trainer, outputs)), len(batch["index"]) * trainer.world_size)
        if self.bar:
            self.bar.update(self.task, completed=trainer.global_step, figures=figures)
        else:
            done = max(1, trainer.global_step - self.first)
            left = (now - self.began) / done * (self.total - trainer.global_step)
            print(f"step {trainer.global_step}/{self.total}  {figures}  {left:.0f} s left", flush=True)

    @staticmethod
    def _loss(trainer: Trainer, outputs: Any) -> Any:
        """The loss of a batch, which Lightning has divided by the number of batches whose gradients add up."""
        return outputs["mean_loss"] if "mean_loss" in outputs else outputs["loss"] * trainer.accumulate_grad_batches

    def _figures(self, trainer: Trainer, loss: float, batch_size: int) -> str:
        latest = trainer.callback_metrics
        steps = (trainer.global_step - self.first) / max(1e-9, time.monotonic() - self.began)
        rate = float(latest.get("time/samples_per_second", 0)) or steps * batch_size * trainer.accumulate_grad_batches
        figures = [f"loss {loss:.3f}", f"{rate:,.0f} samples/s"]
        if "probe/knn_accuracy" in latest:
            figures.append(f"kNN {float(latest['probe/knn_accuracy']):.1%}")
        return "  ".join(figures)

    def _stop(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self._stop()
