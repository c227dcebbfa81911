"""The judges of an evaluation.

A judge takes (method, data) and yields pairs: what is judged, and its figures by metric; `THIS_RUN` first, its controls
next. It yields nothing if it does not apply.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import save_model
from torch import Tensor, nn

from ssl_lightning.evaluation.features import evaluating
from ssl_lightning.evaluation.fine_tuning import FineTuning, classes
from ssl_lightning.evaluation.language import likelihood
from ssl_lightning.evaluation.low_shot import LabelBudgets
from ssl_lightning.evaluation.protocol import Protocol
from ssl_lightning.evaluation.reconstruction import pca_errors, principal_components, squared_errors
from ssl_lightning.figures.evaluation import THIS_RUN, UNTRAINED, confusion_figure
from ssl_lightning.figures.style import save
from ssl_lightning.figures.table import escape
from ssl_lightning.modules.backbones.vit import ViT
from ssl_lightning.runs.folder import write_atomically
from ssl_lightning.runs.frozen_features import FrozenFeatures, embedded

Figures = dict[str, float]
Findings = Iterator[tuple[str, Figures]]

_LARGEST_PCA = 8192
"""Numbers of an image: the covariance of more takes more than half a gigabyte, and minutes."""


@dataclass
class Probes:
    """kNN and linear probe on the frozen embedding, of data with labels, by `protocol` on the test set.

    Of all encoders of `features`, this run and its controls; with `raw`, also of the raw control of the modality.
    `penalties`, by what is judged: those that the linear probes chose.
    """

    protocol: Protocol
    budgets: LabelBudgets
    features: FrozenFeatures
    raw: bool
    console: Console
    penalties: dict[str, float] = field(default_factory=dict)
    raw_name: str = ""

    def __call__(self, method: Any, data: Any) -> Findings:
        if data.probe_train is None:
            return
        for name, encoder in self.features.encoders.items():
            with self.console.status(f"features: {name}"):
                probe_train, test = (self.features(name, split) for split in ("probe_train", "test"))
            figures = self.protocol.on_rows(probe_train, test, data.num_classes, encoder.device, data.groups("test"))
            yield name, self._judged(name, data, figures)
        control = data.modality.raw_control(data, self.protocol, method.device) if self.raw else None
        if control is not None:
            self.raw_name, figures = control
            yield self.raw_name, self._judged(self.raw_name, data, figures)

    def _judged(self, name: str, data: Any, figures: Callable[[Tensor, int], Figures]) -> Figures:
        with self.console.status(f"protocol {self.protocol.name}: {name}"):
            found = self.budgets.over_all_and_few(torch.as_tensor(data.probe_train.labels), figures)
        if "probe/linear_l2" in found:
            self.penalties[name] = found.pop("probe/linear_l2")
        return found


@dataclass
class FineTuned:
    """Accuracy on the test set after all weights of a copy were trained on labels; control: the same from scratch.

    The classifier of this run on all labels is kept in `out`, with its predictions and its confusion matrix.
    """

    recipe: FineTuning
    protocol: Protocol
    budgets: LabelBudgets
    untrained: nn.Module
    console: Console
    out: Path

    def __call__(self, method: Any, data: Any) -> Findings:
        if data.probe_train is not None:
            for name, subject in {THIS_RUN: method, UNTRAINED: self.untrained}.items():
                yield name, self._accuracy(name, subject, data)

    def _accuracy(self, name: str, method: Any, data: Any) -> Figures:
        labels, test_labels = torch.as_tensor(data.probe_train.labels), torch.as_tensor(data.test.labels)
        fetch, fetch_test = (partial(_fetch, part, method.device) for part in (data.probe_train, data.test))

        def figures(rows: Tensor, seed: int) -> Figures:
            with self.console.status(f"fine-tuning: {name}, {len(rows):,} labels, draw {seed + 1}"):
                model = self.recipe.fit(Encoder(method, data), fetch, labels, rows, data.num_classes, seed)
                predicted = classes(model, fetch_test, torch.arange(len(test_labels)))
            if name == THIS_RUN and len(rows) == len(labels):
                self._keep(model, predicted, data)
            return self.protocol.judge("finetune/accuracy", predicted, test_labels, data.groups("test"))

        return self.budgets.over_all_and_few(labels, figures)

    def _keep(self, model: nn.Module, predicted: Tensor, data: Any) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        save_model(model, str(self.out / "finetuned.safetensors"))
        columns = np.arange(len(predicted)), data.test.labels, predicted.numpy()
        rows = [
            f"{row},{data.classes[label]},{data.classes[guess]}" for row, label, guess in zip(*columns, strict=True)
        ]
        write_atomically(self.out / "predictions.csv", "\n".join(["sample,label,predicted", *rows]) + "\n")
        figure = confusion_figure(data.test.labels, columns[2], data.classes)
        save(figure, self.out / "figures" / "confusion.png", "")


class Encoder(nn.Module):
    """From raw batches to the embedding of a method (B, D)."""

    def __init__(self, method: nn.Module, data: Any) -> None:
        super().__init__()
        self.method, self.data = method, data

    def __deepcopy__(self, memo: dict[int, Any]) -> "Encoder":
        return Encoder(copy.deepcopy(self.method, memo), self.data)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return embedded(self.method, self.data, batch)


def _fetch(part: Any, device: torch.device, rows: Tensor) -> dict[str, Tensor]:
    return {key: value.to(device) for key, value in part.__getitems__(rows.numpy()).items()}


@dataclass
class Reconstruction:
    """Mean squared error of inputs painted from their embedding, of pixels in [0, 1], on the test set.

    Controls, fitted on the training set: PCA with as many components as the embedding has, and the mean input.
    """

    console: Console

    @torch.no_grad()
    def __call__(self, method: Any, data: Any) -> Findings:
        if not method.declares("reconstruct"):
            return
        scale, own = _scale(data, method.device), []
        with evaluating(method):
            for x in _inputs(data, "test", method.device):
                own.append(squared_errors(method.reconstruct(x), x, scale))
            width = method(x[:1]).shape[1]
        errors = {THIS_RUN: own}
        if width < x[0].numel() <= _LARGEST_PCA:
            errors |= self._linear(data, width, scale)
        yield from _means("test/reconstruction_error", errors)

    def _linear(self, data: Any, width: int, scale: Tensor) -> dict[str, list[Tensor]]:
        def rows(split: str) -> Iterator[Tensor]:
            return ((x * scale[:, None, None]).flatten(1) for x in _inputs(data, split, scale.device))

        name = f"PCA, {width} components"
        with self.console.status(name):
            mean, directions = principal_components(rows("train"), width)
        return {
            name: [pca_errors(x, mean, directions) for x in rows("test")],
            "mean image": [(x - mean).square().mean(dim=1) for x in rows("test")],
        }


@torch.no_grad()
def predictions(method: Any, data: Any) -> Findings:
    """Mean squared error of predicted parts of inputs, of pixels in [0, 1], on the test set; the method's controls."""
    if not method.declares("predictions"):
        return
    scale = _scale(data, method.device)
    errors: dict[str, list[Tensor]] = {}
    for x in _inputs(data, "test", method.device):
        with evaluating(method):
            true, predicted = method.predictions(x)
        for name, painted in {THIS_RUN: predicted, **method.controls(x)}.items():
            errors.setdefault(name, []).append(squared_errors(painted, true, scale))
    yield from _means("test/prediction_error", errors)


def _means(metric: str, errors: dict[str, list[Tensor]]) -> Findings:
    for name, parts in errors.items():
        yield name, {metric: float(torch.cat(parts).mean())}


def _scale(data: Any, device: torch.device) -> Tensor:
    return torch.tensor(list(data.modality.std), device=device)


def _inputs(data: Any, split: str, device: torch.device) -> Iterator[Tensor]:
    key = data.modality.key
    for batch in data.features_loader(split):
        yield data.modality.evaluation_view({key: batch[key].to(device)})[key]


@dataclass
class HeldOutText:
    """Perplexity and bits per byte of a language model on the held-out windows; control: the `untrained` one."""

    untrained: nn.Module
    console: Console

    def __call__(self, method: Any, data: Any) -> Findings:
        if method.token_loss is None or data.validation_set is None:
            if method.token_loss is not None and data.train is None:
                self.console.print(escape(f"perplexity left out: the corpus is not at data.root={data.root}"))
            return
        for name, subject in {THIS_RUN: method, UNTRAINED: self.untrained}.items():
            with self.console.status(f"held-out text: {name}"):
                found = likelihood(_token_loss(subject, data), data.bytes_per_token)
            yield name, {f"val/{metric}": value for metric, value in found.items()}


@torch.no_grad()
def _token_loss(method: Any, data: Any) -> float:
    """As the validation of a training measures it."""
    total = targets = 0.0
    gpus = [method.device] if method.device.type == "cuda" else []
    with evaluating(method), torch.random.fork_rng(gpus):
        for batch in data.validation_batches(method.device):
            result = method.loss(batch)
            total += float(result[method.token_loss] * result["weight"])
            targets += float(result["weight"])
    return total / targets


def pooled_otherwise(method: Any) -> Any:
    """A copy of the method whose transformer gives another of its embeddings; None if it has but one."""
    made = copy.deepcopy(method)
    transformers = [part for part in made.modules() if isinstance(part, ViT) and len(part.pools) > 1]
    for part in transformers:
        part.pool = next(pool for pool in part.pools if pool != part.pool)
    return made if transformers else None
