"""What the judges of an evaluation share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from ssl_lightning.evaluation.protocol import PROTOCOLS, Protocol
from ssl_lightning.evaluation.suite import SUITES, Suite
from ssl_lightning.figures.evaluation import THIS_RUN, UNTRAINED
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.frozen_features import FrozenFeatures

Figures = dict[str, float]
Findings = Iterator[tuple[str, Figures]]


@dataclass
class Study:
    """A trained encoder, the same without training, and data.

    A judge is a function of it that yields pairs: what is judged, and its figures by metric; `THIS_RUN` first, its
    controls next. It yields nothing if it does not apply.
    """

    trained: Any
    untrained: Any
    data: Any
    title: str = ""
    config: Any = None
    """Composed."""
    weights: str = ""
    """Where those of `trained` come from."""
    run: RunFolder | None = None
    console: Console = field(default_factory=Console)
    protocol: Protocol = PROTOCOLS["v1"]
    suite: Suite = SUITES["v1"]

    @cached_property
    def features(self) -> FrozenFeatures:
        return FrozenFeatures(self.data)

    def compared(self, what: str, figures: Callable[[Any], Figures]) -> Findings:
        """The figures of this run and, as its control, of the untrained encoder."""
        for name, encoder in {THIS_RUN: self.trained, UNTRAINED: self.untrained}.items():
            with self.console.status(f"{what}: {name}"):
                yield name, figures(encoder)

    def accuracy(self, name: str, predicted: Tensor) -> Figures:
        """Of classes (N,) predicted for the test set, on the CPU."""
        return self.protocol.judge(name, predicted, torch.as_tensor(self.data.test.labels), self.data.groups("test"))
