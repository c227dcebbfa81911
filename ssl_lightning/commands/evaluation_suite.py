"""What an evaluation judges: frozen encoders, fine-tuned ones, and inputs from which nothing was learned."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ssl_lightning.evaluation.fine_tuning import Fetch, FineTuning
from ssl_lightning.evaluation.low_shot import over_draws
from ssl_lightning.evaluation.protocol import Protocol
from ssl_lightning.evaluation.tfidf import tfidf_predict
from ssl_lightning.runs.frozen_features import raw_features, split_features, split_groups

RAW_NUMBERS = 5 * 10**8
"""Training sets of more numbers than this (4 GB as the linear probe solves them) have no control on raw inputs."""


@dataclass(frozen=True)
class LabelBudgets:
    """By `protocol`: all labels of `data.probe_train`, and `draws` draws of each of `counts` of them."""

    protocol: Protocol
    data: Any
    counts: list[int]
    draws: int

    def over_all_and_few(self, labels: Tensor, figures: Callable[[Tensor, int], dict[str, float]]) -> dict[str, float]:
        """`figures(rows of the probe_train, seed)` with all of them, and as means over the draws of few."""
        few = over_draws(lambda rows, seed: _accuracies(figures(rows, seed)), labels, self.counts, self.draws)
        return {**figures(torch.arange(len(labels)), 0), **few}


def _accuracies(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if name.endswith("accuracy")}


def encoder(method: Any, labels: LabelBudgets) -> dict[str, float]:
    """kNN and linear probe of the frozen encoder on the test set."""
    probe_train, test = (split_features(method, labels.data, split) for split in ("probe_train", "test"))
    return _probed(probe_train, test, labels, method.device)


def raw_inputs(labels: LabelBudgets, device: torch.device) -> dict[str, dict[str, float]]:
    """By name, the control that the data has: TF-IDF of texts, the numbers of anything else that is not too large."""
    data, protocol = labels.data, labels.protocol
    if hasattr(data, "texts"):
        texts, test_texts = data.texts("probe_train"), data.texts("test")
        y, y_test = torch.as_tensor(data.probe_train.labels), torch.as_tensor(data.test.labels)

        def figures(rows: Tensor, seed: int) -> dict[str, float]:
            predicted = tfidf_predict([texts[row] for row in rows], y[rows], test_texts, seed)
            return protocol.judge("probe/linear_accuracy", predicted, y_test)

        return {"TF-IDF": labels.over_all_and_few(y, figures)}
    key = data.provides[0]
    if (
        len(data.probe_train) * data.evaluation_view({key: data.probe_train.__getitems__([0])[key]})[key].numel()
        > RAW_NUMBERS
    ):
        return {}
    return {"raw input": _probed(raw_features(data, "probe_train"), raw_features(data, "test"), labels, device)}


def _probed(
    probe_train: dict[str, Tensor], test: dict[str, Tensor], labels: LabelBudgets, device: Any
) -> dict[str, float]:
    classes, groups = labels.data.num_classes, split_groups(labels.data, "test")

    def figures(rows: Tensor, seed: int) -> dict[str, float]:
        part = {name: values[rows] for name, values in probe_train.items()}
        return labels.protocol.run(part, test, classes, device, groups=groups)

    return labels.over_all_and_few(probe_train["labels"], figures)


def fine_tuned(method: Any, labels: LabelBudgets, recipe: FineTuning, title: str, console: Console) -> dict[str, float]:
    """Accuracy on the test set after all weights of a copy were trained on labels of `probe_train`; shows a bar."""
    data = labels.data
    y, y_test = torch.as_tensor(data.probe_train.labels), torch.as_tensor(data.test.labels)
    fetch, fetch_test = _fetch(data, data.probe_train), _fetch(data, data.test)
    groups = split_groups(data, "test")

    steps = recipe.total_steps(len(y)) + labels.draws * sum(recipe.total_steps(count) for count in labels.counts)
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=steps)

        def figures(rows: Tensor, seed: int) -> dict[str, float]:
            predicted = recipe.predict(
                method, fetch, y, rows, fetch_test, len(y_test), data.num_classes, seed, lambda: progress.advance(task)
            )
            return labels.protocol.judge("finetune/accuracy", predicted, y_test, groups)

        return labels.over_all_and_few(y, figures)


def _fetch(data: Any, part: Any) -> Fetch:
    key = data.provides[0]
    return lambda rows: data.evaluation_view({key: part.__getitems__(rows.numpy())[key]})[key]
