"""Versioned evaluation protocols: figures of one version are comparable, because a version never changes."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ssl_lightning.evaluation.bootstrap import interval
from ssl_lightning.evaluation.knn import check_labels, knn_predict
from ssl_lightning.evaluation.linear_probe import LinearProbe, choose_l2, fit_linear


@dataclass(frozen=True)
class Versioned:
    """Settings under the name of a version."""

    name: str

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits, equal only for equal settings."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Protocol(Versioned):
    """How frozen features are evaluated, the same for a trained encoder, an untrained one and raw inputs."""

    knn_k: int = 20
    knn_temperature: float = 0.07
    l2_grid: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
    linear_tolerance: float = 1e-5
    seed: int = 0

    def run(
        self,
        probe_train: dict[str, Tensor],
        test: dict[str, Tensor],
        num_classes: int,
        device: torch.device | str = "cpu",
        linear_samples: int | None = None,
        groups: Tensor | None = None,
    ) -> dict[str, float]:
        """Accuracies on `test` of probes fitted on `probe_train`; both are outputs of `features.extract`.

        Returns the accuracy of the kNN and of the linear probe as fractions, each with `_low` and `_high` of its 95 %
        bootstrap interval, and `probe/linear_l2`, the penalty chosen on a part of `probe_train`.

        Args:
            linear_samples: fit the linear probe on this many samples only: a quick look during training.
            groups: (N,) of `test`: samples of one original, which the bootstrap draws together.
        """
        check_labels(test["labels"], test["features"], num_classes)
        x, y = probe_train["features"].to(device), probe_train["labels"].to(device)
        x_test, y_test = test["features"].to(device), test["labels"].to(device)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed)).to(device)
        some = order[:linear_samples]
        linear, l2 = self.linear_probe(x[some], y[some], num_classes)
        predictions = {
            "probe/knn_accuracy": knn_predict(x_test, x, y, num_classes, self.knn_k, self.knn_temperature),
            "probe/linear_accuracy": linear.predict(x_test),
        }
        figures = {"probe/linear_l2": l2}
        for name, predicted in predictions.items():
            figures |= self.judge(name, predicted, y_test, groups)
        return figures

    def linear_probe(self, features: Tensor, labels: Tensor, num_classes: int) -> tuple[LinearProbe, float]:
        """Fitted on `features` (N, D) and `labels` (N,), with the penalty chosen on a part of them."""
        l2 = choose_l2(features, labels, self.l2_grid, self.seed)
        return fit_linear(features, labels, num_classes, l2, self.linear_tolerance), l2

    def on_rows(
        self, probe_train: dict[str, Tensor], *given: Any, **options: Any
    ) -> Callable[[Tensor, int], dict[str, float]]:
        """`run` as a function of (rows (N,) of `probe_train`, seed); the probes draw nothing from the seed."""
        return lambda rows, seed: self.run({key: x[rows] for key, x in probe_train.items()}, *given, **options)

    def judge(self, name: str, predicted: Tensor, labels: Tensor, groups: Tensor | None = None) -> dict[str, float]:
        """`name`: the accuracy of `predicted` (N,) against `labels` (N,); `_low` and `_high` of its interval."""
        return self.mean(name, predicted == labels, groups)

    def mean(self, name: str, values: Tensor, groups: Tensor | None = None) -> dict[str, float]:
        """`name`: the mean of `values` (N,), one a sample; `_low` and `_high` of its interval."""
        low, high = interval(values, seed=self.seed, groups=groups)
        return {name: values.double().mean().item(), f"{name}_low": low, f"{name}_high": high}


PROTOCOLS = {"v1": Protocol("v1")}
