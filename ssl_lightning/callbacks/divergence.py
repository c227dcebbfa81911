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
            self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._look(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, pl_module: Any = None) -> None:
        latest = trainer.global_step + 1
        finite = torch.stack([loss for _, loss in self.recent]).isfinite().tolist() if self.recent else []
        first = next((step for (step, _), good in zip(self.recent, finite, strict=True) if not good), latest)
        self.recent.clear()
        if ago := all_reduce_max(latest - first):
            what, step = "the loss is", latest - ago
        elif pl_module is not None and not all_finite(pl_module.parameters()):
            what, step = "weights are", trainer.global_step
        else:
            return
        kept = (
            " (its last checkpoint is from before)" if RunFolder(Path(trainer.default_root_dir)).last.exists() else ""
        )
        raise InputError(
            f"the training diverged: {what} not finite at step {step}{kept}; try a lower optimizer.lr, or"
            " trainer.gradient_clip_val=1"
        )
