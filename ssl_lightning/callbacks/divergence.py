"""A training that has diverged ends at once, and nothing of it is saved."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from ssl_lightning.distributed import all_finite, all_reduce_max
from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder


class Divergence(Callback):
    """Looks at the loss of every step, and at the weights before each checkpoint and at the end of an epoch.

    No step waits for the device: losses are looked at together, every 50 batches.

    Raises:
        InputError: the loss or a weight is infinite or not a number; every rank raises it.
    """

    def __init__(self) -> None:
        self.recent: list[tuple[int, Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.recent.append((trainer.global_step, outputs["loss"]))
        if len(self.recent) == 50:
            self._look_at_losses(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._look(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, pl_module: Any) -> None:
        self._look_at_losses(trainer)
        if not all_finite(pl_module.parameters()):
            raise _diverged("weights are", trainer.global_step, trainer)

    def _look_at_losses(self, trainer: Trainer) -> None:
        if not self.recent:
            return
        steps, losses = zip(*self.recent, strict=True)
        self.recent.clear()
        finite = torch.stack(losses).isfinite().tolist()
        latest = trainer.global_step + 1
        first = next((step for step, good in zip(steps, finite, strict=True) if not good), latest)
        if ago := all_reduce_max(latest - first):
            raise _diverged("the loss is", latest - ago, trainer)


def _diverged(what: str, step: int, trainer: Trainer) -> InputError:
    kept = " (its last checkpoint is from before)" if RunFolder(Path(trainer.default_root_dir)).last.exists() else ""
    return InputError(
        f"the training diverged: {what} not finite at step {step}{kept}; try a lower optimizer.lr, or"
        " trainer.gradient_clip_val=1"
    )
