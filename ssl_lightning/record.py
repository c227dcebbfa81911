"""Figures go to every logger at once, and to where Lightning's own callbacks look for them."""

from collections.abc import Mapping

import lightning
import torch


def record(trainer: lightning.Trainer, figures: Mapping[str, float], step: int | None = None) -> None:
    """Logs `figures` as of `step` (by default the number of optimizer steps done) and adds them to `callback_metrics`.

    Not by `self.log`, which costs 2 ms at every step and writes when the step's checkpoint is already saved. All ranks
    call it with the same figures, so that those who decide by them (`EarlyStopping`) decide alike.
    """
    for logger in trainer.loggers:
        logger.log_metrics(dict(figures), step=trainer.global_step if step is None else step)
    trainer.callback_metrics.update({name: torch.tensor(float(value)) for name, value in figures.items()})
