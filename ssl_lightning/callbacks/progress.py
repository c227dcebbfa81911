"""One bar for the whole training: rate, time left, loss and the newest probe."""

import time
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ssl_lightning.ranges import NonNegativeFloat

_MUCH_WAITING = 0.1
"""Share of the time: with more of it the loader, not the network, says how long a training takes."""


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

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.enabled = trainer.is_global_zero

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
        now, step = time.monotonic(), trainer.global_step
        pause = 0.25 if self.bar else self.every_n_seconds
        if not self.enabled or (now - self.shown < pause and step < self.total):
            return
        self.shown = now
        parts, latest = trainer.accumulate_grad_batches, trainer.callback_metrics
        # Lightning has divided the loss by the number of batches whose gradients add up
        loss = outputs["mean_loss"] if "mean_loss" in outputs else outputs["loss"] * parts
        seconds_per_step = (now - self.began) / max(1, step - self.first)
        samples = len(batch["index"]) * trainer.world_size * parts
        rate = float(latest.get("time/samples_per_second", samples / max(1e-9, seconds_per_step)))
        figures = f"loss {float(loss):.3f}  {rate:,.0f} samples/s"
        if "probe/knn_accuracy" in latest:
            figures += f"  kNN {float(latest['probe/knn_accuracy']):.1%}"
        waiting = float(latest.get("time/data_wait_fraction", 0.0))
        if waiting > _MUCH_WAITING:
            figures += f"  waits for data {waiting:.0%} of the time (data.num_workers)"
        if self.bar:
            self.bar.update(self.task, completed=step, figures=figures)
        else:
            left = seconds_per_step * (self.total - step)
            print(f"step {step}/{self.total}  {figures}  {left:.0f} s left", flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.bar:
            self.bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)
