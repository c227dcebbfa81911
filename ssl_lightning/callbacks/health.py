"""Is the embedding alive? Label-free signs of health, and an alarm when it collapses."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from ssl_lightning.distributed import gather_variable_length, mean_over_ranks, rank, world_size
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.health import alignment, effective_rank, embedding_std, uniformity
from ssl_lightning.ranges import NonNegativeFloat, PositiveInt
from ssl_lightning.record import record
from ssl_lightning.runs.frozen_features import label_free_figures


class Health(Callback):
    """Logs spread, effective rank and uniformity of training embeddings, and alignment where validation has two views.

    Before the first step and at the end it measures the frozen encoder too, without labels: `probe/effective_rank`,
    `probe/uniformity` and `probe/alignment`, beside those of the untrained encoder.

    Args:
        every_n_steps: how often.
        samples: number of newest embeddings that are looked at.
        min_std: the collapse rule: the spread (1 for isotropic embeddings, 0 for a point) fell below it ...
        min_rank: ... or the effective rank fell below this many directions, twice in a row. So is a scalar of the loss
            that falls below what the method declares as `collapse_below`.
        stop: a collapse ends the run instead of only being told.
    """

    def __init__(
        self,
        every_n_steps: PositiveInt = 50,
        samples: PositiveInt = 2048,
        min_std: NonNegativeFloat = 0.02,
        min_rank: NonNegativeFloat = 1.5,
        stop: bool = False,
    ) -> None:
        self.every_n_steps, self.samples = every_n_steps, samples
        self.min_std, self.min_rank, self.stop = min_std, min_rank, stop
        self.recent: Tensor = torch.empty(0)
        self.suspected, self.told, self.judged_at = False, False, 0

    def state_dict(self) -> dict[str, Any]:
        """With the embeddings of all ranks, so that a run that resumes sees what one never stopped would."""
        recent = gather_variable_length(self.recent).cpu()
        return {"recent": recent, "judgement": (self.suspected, self.told, self.judged_at)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.suspected, self.told, self.judged_at = state_dict["judgement"]
        self.recent = state_dict["recent"].tensor_split(world_size())[rank()]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.global_step == 0:
            self._measure_frozen(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._measure_frozen(trainer, pl_module)

    def _measure_frozen(self, trainer: Any, pl_module: Any) -> None:
        if trainer.datamodule is not None:
            record(trainer, label_free_figures(pl_module, trainer.datamodule))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        h = outputs["embedding"]
        self.recent = torch.cat([self.recent.to(h), h])[-self.samples :]
        step = trainer.global_step
        if step % self.every_n_steps == 0 and step != self.judged_at:
            self.judged_at = step
            h = gather_variable_length(self.recent.float())  # of all ranks, so that they judge alike
            figures = {
                "health/embedding_std": float(embedding_std(h)),
                "health/effective_rank": float(effective_rank(h)),
                "health/uniformity": float(uniformity(h[:512])),
            }
            for name in pl_module.collapse_below:
                figures[f"health/{name}"] = float(mean_over_ranks(outputs[name].detach()))
            record(trainer, figures)
            self._judge(figures, pl_module.collapse_below)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        views = batch.get("views", ())
        if batch_idx == 0 and len(views) > 1 and len(views[0]) > 1 and not trainer.sanity_checking:
            h1, h2 = (pl_module(view) for view in views[:2])
            record(trainer, {"health/alignment": float(alignment(h1.float(), h2.float()))})

    def _judge(self, figures: dict[str, float], declared: Mapping[str, float]) -> None:
        own = {"embedding_std": self.min_std, "effective_rank": self.min_rank}
        least = {f"health/{name}": low for name, low in {**own, **declared}.items()}
        broken = [f"{name} = {figures[name]:.3g} < {low:g}" for name, low in least.items() if not figures[name] >= low]
        if broken and self.suspected and not self.told:
            what = "embedding" if any(name in line for name in own for line in broken) else "method"
            message = f"the {what} has collapsed: {' and '.join(broken)}, twice in a row"
            if self.stop:
                raise InputError(f"{message}; stopped, as callbacks.health.stop=true asks")
            if rank() == 0:
                print(f"\nWARNING: {message}. Lower the learning rate, or change temperature or momentum.", flush=True)
            self.told = True
        self.suspected = bool(broken)
