"""What loggers take: figures, which all of them and Lightning's own callbacks get at once, and what else some take."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import lightning
import torch


@runtime_checkable
class TakesImages(Protocol):
    """A logger that shows image files."""

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None: ...


@runtime_checkable
class TakesResults(Protocol):
    """A logger that compares runs: it takes their `results.json`, and is closed with their status."""

    def where(self) -> str:
        """Where its user finds the run."""
        ...

    def log_results(self, results: Mapping[str, Any], best: Mapping[str, float]) -> None: ...

    def close(self, status: str) -> None: ...


def record(trainer: lightning.Trainer, figures: Mapping[str, float], step: int | None = None) -> None:
    """Logs `figures` as of `step` (by default the number of optimizer steps done) and adds them to `callback_metrics`.

    Not by `self.log`, which costs 2 ms at every step and writes when the step's checkpoint is already saved. All ranks
    call it with the same figures, so that those who decide by them (`EarlyStopping`) decide alike.
    """
    for logger in trainer.loggers:
        logger.log_metrics(dict(figures), step=trainer.global_step if step is None else step)
    record_last(trainer, figures)


def record_last(trainer: lightning.Trainer, figures: Mapping[str, float]) -> None:
    """Makes `figures` the last ones that callbacks know, without logging them."""
    trainer.callback_metrics.update({name: torch.tensor(float(value)) for name, value in figures.items()})
