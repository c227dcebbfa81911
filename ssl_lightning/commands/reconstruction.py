"""How well a method that paints does so on the test set, beside controls that learn less or nothing."""

from collections.abc import Iterator
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ssl_lightning.evaluation.features import evaluating
from ssl_lightning.evaluation.reconstruction import pca_errors, principal_components, squared_errors

_LARGEST_PCA = 8192
"""Numbers of an image: the covariance of more takes more than half a gigabyte, and minutes."""


@torch.no_grad()
def reconstruction_errors(
    method: Any, data: Any, device: torch.device, console: Console
) -> dict[str, dict[str, float]]:
    """{metric: {"this run": value, control: value, ...}}: mean squared errors of pixels in [0, 1], if it paints any.

    `test/reconstruction_error` of methods that `reconstruct` an image from its embedding, beside PCA with as many
    components, fitted on the training set; `test/prediction_error` of methods that `predict` the frames that follow,
    beside their own controls. The table goes to the screen.
    """
    if hasattr(method, "reconstruct"):
        metric, errors = "test/reconstruction_error", _reconstruction(method, data, device, console)
    elif hasattr(method, "predictions"):
        metric, errors = "test/prediction_error", _prediction(method, data, device)
    else:
        return {}
    table = Table(title=f"{metric.removeprefix('test/').replace('_', ' ')}, squared, of pixels in [0, 1]")
    table.title_justify = "left"
    for name in errors:
        table.add_column(name, justify="right")
    table.add_row(*(f"{error:.5f}" for error in errors.values()))
    console.print(table)
    return {metric: errors}


def _reconstruction(method: Any, data: Any, device: torch.device, console: Console) -> dict[str, float]:
    scale = torch.tensor(list(data.std), device=device)
    found: dict[str, list[Tensor]] = {"this run": []}
    width, numbers = _sizes(method, data, device)
    fit_pca = width < numbers <= _LARGEST_PCA
    if fit_pca:
        with console.status(f"PCA of {numbers} numbers"):
            rows = ((x * scale[:, None, None]).flatten(1) for x in _inputs(data, "train", device))
            mean, directions = principal_components(rows, width)
    for x in _inputs(data, "test", device):
        with evaluating(method):
            found["this run"].append(squared_errors(method.reconstruct(x), x, scale))
        if fit_pca:
            rows_of_test = (x * scale[:, None, None]).flatten(1)
            found.setdefault(f"PCA, {width} components", []).append(pca_errors(rows_of_test, mean, directions))
            found.setdefault("mean image", []).append((rows_of_test - mean).square().mean(dim=1))
    return _means(found)


def _prediction(method: Any, data: Any, device: torch.device) -> dict[str, float]:
    scale = torch.tensor(list(data.std), device=device)
    found: dict[str, list[Tensor]] = {}
    for x in _inputs(data, "test", device):
        with evaluating(method):
            true, predictions = method.predictions(x)
        for name, predicted in predictions.items():
            found.setdefault(name, []).append(squared_errors(predicted, true, scale))
    return _means(found)


def _inputs(data: Any, split: str, device: torch.device) -> Iterator[Tensor]:
    key = data.provides[0]
    for batch in data.features_loader(split):
        yield data.evaluation_view({key: batch[key].to(device)})[key]


def _sizes(method: Any, data: Any, device: torch.device) -> tuple[int, int]:
    """D of the embedding and the numbers of an input."""
    x = next(_inputs(data, "test", device))[:2]
    with evaluating(method):
        return method(x).shape[1], x[0].numel()


def _means(found: dict[str, list[Tensor]]) -> dict[str, float]:
    return {name: float(torch.cat(errors).mean()) for name, errors in found.items()}
