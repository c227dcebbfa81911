"""The judges of every evaluation; see `Study` for what a judge is."""

import copy
import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from safetensors.torch import save_model
from torch import Tensor, nn

from ssl_lightning.commands.study import Figures, Findings, Study
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.features import evaluating
from ssl_lightning.evaluation.fine_tuning import FineTuning, classes
from ssl_lightning.evaluation.language import likelihood
from ssl_lightning.evaluation.low_shot import LabelBudgets
from ssl_lightning.evaluation.reconstruction import pca_errors, principal_components, squared_errors
from ssl_lightning.evaluation.sgd_probe import SGDProbe
from ssl_lightning.figures.evaluation import POOLED, THIS_RUN, UNTRAINED, confusion_figure
from ssl_lightning.figures.style import save
from ssl_lightning.figures.table import escape
from ssl_lightning.modules.backbones.vit import ViT
from ssl_lightning.runs.folder import written_beside
from ssl_lightning.runs.frozen_features import embedded

_LARGEST_PCA = 8192
"""Numbers of an image: the covariance of more takes more than half a gigabyte, and minutes."""


def probes(study: Study, budgets: LabelBudgets, raw: bool) -> Findings:
    """kNN and linear probe on the frozen embedding, of data with labels, by the protocol on the test set.

    Controls: the untrained encoder and, with `raw`, what the modality has that learned nothing. Of a transformer also
    its other embedding.
    """
    data, protocol, device = study.data, study.protocol, study.trained.device
    if data.probe_train is None:
        return

    def judged(name: str, figures: Callable[[Tensor, int], Figures]) -> tuple[str, Figures]:
        with study.console.status(f"protocol {protocol.name}: {name}"):
            return name, budgets.over_all_and_few(torch.as_tensor(data.probe_train.labels), figures)

    encoders = {THIS_RUN: study.trained, UNTRAINED: study.untrained, POOLED: pooled_otherwise(study.trained)}
    for name, encoder in encoders.items():
        if encoder is not None:
            with study.console.status(f"features: {name}"):
                probe_train, test = (study.features(encoder, part) for part in (data.probe_train, data.test))
            groups = data.groups("test")
            yield judged(name, protocol.on_rows(probe_train, test, data.num_classes, device, groups=groups))
    control = data.modality.raw_control(data, protocol, device) if raw else None
    if control is not None:
        yield judged(*control)


def pooled_otherwise(method: Any) -> Any:
    """A copy of the method whose transformer gives another of its embeddings; None if it has but one."""
    made = copy.deepcopy(method)
    transformers = [part for part in made.modules() if isinstance(part, ViT) and len(part.pools) > 1]
    for part in transformers:
        part.pool = next(pool for pool in part.pools if pool != part.pool)
    return made if transformers else None


def sgd_probe(study: Study, recipe: SGDProbe) -> Findings:
    """Accuracy on the test set of a linear classifier that SGD trains on augmented samples.

    Raises:
        InputError: nothing is held out, by which its learning rate is chosen, or such samples are not augmented.
    """
    data, augmentation = study.data, study.data.modality.augmentation
    if augmentation is None or data.probe_train is None or data.val is None:
        raise InputError("sgd_probe=true is for images with labels of which some are held out (data.val_size)")

    def accuracy(encoder: Any) -> Figures:
        device, generator = encoder.device, torch.Generator(encoder.device).manual_seed(0)

        @torch.no_grad()
        def encode(rows: Tensor) -> Tensor:
            batch = _fetch(data.probe_train, device, rows)
            batch[data.modality.key] = augmentation(batch[data.modality.key], generator)
            return embedded(encoder, data, batch).float()

        val, test = (study.features(encoder, part) for part in (data.val, data.test))
        with evaluating(encoder):
            probe = recipe.fit(encode, torch.as_tensor(data.probe_train.labels), val, data.num_classes)
        return study.accuracy("probe/sgd_accuracy", probe(test["features"].to(device)).argmax(dim=1).cpu())

    yield from study.compared("SGD probe", accuracy)


def fine_tuned(study: Study, recipe: FineTuning, budgets: LabelBudgets, out: Path) -> Findings:
    """Accuracy on the test set after all weights of a copy were trained on labels; control: the same from scratch.

    The classifier of this run on all labels is kept in `out`, with its predictions and its confusion matrix.
    """
    data = study.data
    if data.probe_train is None:
        return
    labels = torch.as_tensor(data.probe_train.labels)

    def accuracies(method: Any) -> Figures:
        fetch, fetch_test = (partial(_fetch, part, method.device) for part in (data.probe_train, data.test))

        def figures(rows: Tensor, seed: int) -> Figures:
            with study.console.status(f"{len(rows):,} labels, draw {seed + 1}"):
                model = recipe.fit(Encoder(method, data), fetch, labels, rows, data.num_classes, seed)
                predicted = classes(model, fetch_test, torch.arange(len(data.test)))
            if method is study.trained and len(rows) == len(labels):
                _keep(study, model, predicted.numpy(), out)
            return study.accuracy("finetune/accuracy", predicted)

        return budgets.over_all_and_few(labels, figures)

    yield from study.compared("fine-tuning", accuracies)


def _keep(study: Study, model: nn.Module, predicted: np.ndarray, out: Path) -> None:
    labels, names = study.data.test.labels, np.array(study.data.classes)
    save(confusion_figure(labels, predicted, names), out / "figures" / "confusion.png", study.title)
    save_model(model, str(out / "finetuned.safetensors"))
    rows = zip(range(len(predicted)), names[labels], names[predicted], strict=True)
    with written_beside(out / "predictions.csv") as beside, beside.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("sample", "label", "predicted"), *rows])


class Encoder(nn.Module):
    """From raw batches to the embedding of a method (B, D)."""

    def __init__(self, method: nn.Module, data: Any) -> None:
        super().__init__()
        self.method = method
        self.embed = lambda method, batch: embedded(method, data, batch)  # a function, so that no copy copies the data

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.embed(self.method, batch)


def _fetch(part: Any, device: torch.device, rows: Tensor) -> dict[str, Tensor]:
    return move_data_to_device(part.__getitems__(rows.numpy()), device)


@torch.no_grad()
def reconstruction(study: Study) -> Findings:
    """Mean squared error of inputs painted from their embedding, of pixels in [0, 1], on the test set.

    Controls, fitted on the training set: PCA with as many components as the embedding has, and the mean input.
    """
    method, own = study.trained, []
    if not method.declares("reconstruct"):
        return
    scale = _scale(study)
    with evaluating(method):
        for x in _inputs(study, "test"):
            own.append(squared_errors(method.reconstruct(x), x, scale))
        width = method(x[:1]).shape[1]
    errors = {THIS_RUN: own}
    if width < x[0].numel() <= _LARGEST_PCA:

        def rows(split: str) -> Iterator[Tensor]:
            return ((x * scale[:, None, None]).flatten(1) for x in _inputs(study, split))

        name = f"PCA, {width} components"
        with study.console.status(name):
            mean, directions = principal_components(rows("train"), width)
        errors[name] = [pca_errors(x, mean, directions) for x in rows("test")]
        errors["mean image"] = [(x - mean).square().mean(dim=1) for x in rows("test")]
    yield from _means("test/reconstruction_error", errors)


@torch.no_grad()
def predictions(study: Study) -> Findings:
    """Mean squared error of predicted parts of inputs, of pixels in [0, 1], on the test set; the method's controls."""
    method = study.trained
    if not method.declares("predictions"):
        return
    errors: dict[str, list[Tensor]] = {}
    for x in _inputs(study, "test"):
        with evaluating(method):
            true, predicted = method.predictions(x)
        for name, painted in {THIS_RUN: predicted, **method.controls(x)}.items():
            errors.setdefault(name, []).append(squared_errors(painted, true, _scale(study)))
    yield from _means("test/prediction_error", errors)


def _means(metric: str, errors: dict[str, list[Tensor]]) -> Findings:
    for name, parts in errors.items():
        yield name, {metric: float(torch.cat(parts).mean())}


def _scale(study: Study) -> Tensor:
    return torch.tensor(list(study.data.modality.std), device=study.trained.device)


def _inputs(study: Study, split: str) -> Iterator[Tensor]:
    modality = study.data.modality
    for batch in study.data.features_loader(split):
        raw = batch[modality.key].to(study.trained.device)
        yield modality.evaluation_view({modality.key: raw})[modality.key]


def held_out_text(study: Study) -> Findings:
    """Perplexity and bits per byte of a language model on the held-out windows."""
    method, data = study.trained, study.data
    if method.token_loss is None or data.validation_set is None:
        if method.token_loss is not None and data.train is None:
            study.console.print(escape(f"perplexity left out: the corpus is not at data.root={data.root}"))
        return

    def figures(method: Any) -> Figures:
        found = likelihood(_token_loss(method, data), data.bytes_per_token)
        return {f"val/{metric}": value for metric, value in found.items()}

    yield from study.compared("held-out text", figures)


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
