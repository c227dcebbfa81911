"""Versioned suites: what is measured of an encoder beyond a protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

from ssl_lightning.evaluation.protocol import Versioned


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


SUITES = {"v1": Suite("v1")}
