"""How good is the frozen embedding by now? kNN and a linear classifier, compared with the untrained encoder."""

import math
from typing import Any, Literal

import torch
from lightning import Callback, Trainer

from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.ranges import AtLeastTwo, PositiveInt
from ssl_lightning.record import record
from ssl_lightning.runs.frozen_features import part_features

Features = dict[str, torch.Tensor]


class Probe(Callback):
    """Runs an evaluation protocol on labeled training samples and held-out validation samples, never on the test set.

    The first measurement, before the first step, is the control: the encoder as it begins, untrained unless the run
    starts from pretrained weights. Nothing of a probe reaches the method: no gradient, no random number, no weight.
    Data without labels, or of which nothing is held out, is not probed, and a line says so.

    Args:
        times: how often over the whole training, spread evenly over its epochs; the end is always measured.
        protocol: name of the evaluation protocol.
        linear_samples: the linear probe is fitted on at most so many samples, to be quick; kNN has them all.
    """

    def __init__(
        self, times: PositiveInt = 5, protocol: Literal["v1"] = "v1", linear_samples: AtLeastTwo = 10000
    ) -> None:
        self.times, self.protocol = times, PROTOCOLS[protocol]
        self.linear_samples = linear_samples
        self.measured_at = -1

    def state_dict(self) -> dict[str, Any]:
        return {"measured_at": self.measured_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.measured_at = state_dict["measured_at"]

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        data = trainer.datamodule
        labeled = "" if data.probe_train is not None else "the data has no labels (class folders would give them)"
        self.lacking = labeled or ("" if data.val is not None else "nothing is held out (data.val_size is 0)")
        if self.lacking and trainer.is_global_zero:
            print(f"no probe of kNN and linear accuracy: {self.lacking}", flush=True)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.measured_at < 0:
            if not self.lacking and trainer.is_global_zero:
                print("probing the untrained encoder ...", flush=True)
            self.measure(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        total = trainer.estimated_stepping_batches
        if trainer.global_step * self.times // total > max(0, self.measured_at) * self.times // total:
            self.measure(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.measured_at != trainer.global_step:
            self.measure(trainer, pl_module)

    def measure(self, trainer: Any, pl_module: Any) -> None:
        """Logs `probe/knn_accuracy` and `probe/linear_accuracy` at the current step."""
        if self.lacking:
            return
        data = trainer.datamodule
        probe_train, val = (part_features(pl_module, data, part) for part in (data.probe_train, data.val))
        self.measured_at = trainer.global_step
        # every process has all features; one of them is enough to look
        figures = self._figures(probe_train, val, data, pl_module.device) if trainer.is_global_zero else {}
        record(trainer, trainer.strategy.broadcast(figures))

    def _figures(self, probe_train: Features, val: Features, data: Any, device: torch.device) -> dict[str, float]:
        if not all(part["features"].isfinite().all() for part in (probe_train, val)):
            print(f"\nWARNING: the embedding is not finite at step {self.measured_at}; it is not probed", flush=True)
            return dict.fromkeys(("probe/knn_accuracy", "probe/linear_accuracy"), math.nan)
        groups = data.groups("val")
        figures = self.protocol.run(probe_train, val, data.num_classes, device, self.linear_samples, groups)
        figures.pop("probe/linear_l2")
        return figures
