"""When a step is over: after its validation and, of an epoch's last step, after the end of the epoch."""

from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import Checkpoint


class AfterStep(Checkpoint):
    """Calls `after_step` once after an optimizer step, when all that belongs to the step is done.

    What is saved there lacks nothing of the step, neither its validation nor its probe, and a run that is stopped there
    resumes with the next step. (A `Checkpoint`, because Lightning calls those after all other callbacks.)
    """

    def after_step(self, trainer: Trainer) -> None:
        """All ranks call it."""
        raise NotImplementedError

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not (_is_part(trainer) or _is_validated(trainer)):
            self.after_step(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not (trainer.sanity_checking or _is_part(trainer)):
            self.after_step(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.after_step(trainer)


def _is_part(trainer: Trainer) -> bool:
    """Whether more of this step follows: micro-batches, or the end of the epoch."""
    done = 0 < trainer.max_steps <= trainer.global_step
    return trainer.fit_loop._should_accumulate() or trainer.is_last_batch or done or trainer.should_stop


def _is_validated(trainer: Trainer) -> bool:
    """Whether a validation follows this batch."""
    fetcher, loop = trainer.fit_loop._data_fetcher, trainer.fit_loop.epoch_loop
    return fetcher is not None and loop._should_check_val_fx(fetcher) and not loop.val_loop.skip
