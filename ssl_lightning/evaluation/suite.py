"""Versioned suites: what is measured of an encoder beyond a protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ssl_lightning.evaluation.class_retrieval import retrieval
from ssl_lightning.evaluation.clustering import cluster_figures
from ssl_lightning.evaluation.knn import knn_predict
from ssl_lightning.evaluation.protocol import Protocol, Versioned


@dataclass(frozen=True)
class Suite(Versioned):
    """Figures of one version are comparable, because a version never changes.

    `samples` and `train_samples`: of the test set and of the training set, at most, on which robustness and layers are
    measured. `starts`: of k-means.
    """

    knn_k: int = 200
    percents: Sequence[int] = (1, 10)
    each: Sequence[int] = (1, 5, 10)
    recalls: Sequence[int] = (1, 5, 10)
    starts: int = 5
    samples: int = 2000
    train_samples: int = 10_000

    def on_features(
        self,
        protocol: Protocol,
        probe_train: dict[str, Tensor],
        test: dict[str, Tensor],
        num_classes: int,
        groups: Tensor | None = None,
    ) -> dict[str, float]:
        """kNN with more neighbors; clusters and retrieval in the test set. Sets are as `features.extract` gives."""
        x, y = test["features"], test["labels"]
        train = (probe_train["features"], probe_train["labels"])
        predicted = knn_predict(x, *train, num_classes, self.knn_k, protocol.knn_temperature)
        figures = protocol.judge(f"probe/knn_{self.knn_k}_accuracy", predicted, y, groups)
        figures |= cluster_figures(x, y, num_classes, self.starts)
        found = retrieval(x, y, self.recalls, groups)
        query = found.pop("query")
        for name, values in found.items():
            figures |= protocol.mean(f"retrieval/{name}", values, None if groups is None else groups[query.cpu()])
        return figures


SUITES = {"v1": Suite("v1")}
