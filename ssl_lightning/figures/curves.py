"""Curves of a run's metrics, and maps of its embedding."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.errors import InputError
from ssl_lightning.figures.images import draw_image
from ssl_lightning.figures.metrics import is_share, label
from ssl_lightning.figures.style import MARKERS, PALETTE, styled

Curve = tuple[list[int], list[float]]
"""Steps and values."""

_TASK = re.compile(r"(train|val)/\w*accuracy")
_MOST_NAMED = 40
"""Classes that a legend names."""
_CELLS = 24
"""Pictures side by side on a map."""


@styled
def curves_figure(curves: Mapping[str, Curve], figures: Mapping[str, tuple[str, str]]) -> Figure:
    """Loss, the `figures` that a method declares, probes with their control and intervals, and health over the steps.

    `curves`: by name of the metric; `figures`: label and format, see `MethodHooks`.
    """
    panels = {
        "loss": ["train/loss", "val/loss"],
        "bits per byte": ["val/bits_per_byte"],
        **_panels(figures),
        "accuracy of the task": sorted(name for name in curves if _TASK.fullmatch(name)),
        "accuracy of the probes": ["probe/knn_accuracy", "probe/linear_accuracy"],
        "effective rank": ["health/effective_rank", "probe/effective_rank"],
        "norm of the gradient": ["health/gradient_norm"],
        "uniformity and alignment": ["health/uniformity", "health/alignment"],
    }
    shown = {title: [name for name in names if name in curves] for title, names in panels.items()}
    shown = {title: names for title, names in shown.items() if names}
    rows = 1 + (len(shown) > 3)
    columns = max(1, -(-len(shown) // rows))
    figure = Figure(figsize=(4.2 * columns, 3 * rows + 0.3), layout="constrained")
    last = max((steps[-1] for steps, _ in curves.values()), default=1)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[len(shown) :]:
        axes.axis("off")
    for axes, (title, names) in zip(grid, shown.items(), strict=False):
        for name in names:
            _draw(axes, name, curves)
        axes.set(title=title, xlabel="optimizer steps", xlim=(0, 1.02 * last))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
        if all(map(is_share, names)):
            axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def _draw(axes: Any, name: str, curves: Mapping[str, Curve]) -> None:
    steps, values = curves[name]
    (line,) = axes.plot(steps, values, label=label(name), marker="o" if len(steps) < 40 else "", markersize=3)
    if f"{name}_low" in curves:
        (at, low), (_, high) = curves[f"{name}_low"], curves[f"{name}_high"]
        axes.fill_between(at, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    if name.startswith("probe/") and steps[0] == 0:
        first = not any(other.get_linestyle() == ":" for other in axes.lines)
        axes.axhline(values[0], color=line.get_color(), linestyle=":", label="untrained encoder" if first else None)


def _panels(figures: Mapping[str, tuple[str, str]]) -> dict[str, list[str]]:
    """Metrics by the title of their panel; a label that begins with "..." adds to the panel before."""
    panels: dict[str, list[str]] = {}
    for name, (text, _) in figures.items():
        if text.startswith("..."):
            panels[next(reversed(panels))].append(name)
        elif not _TASK.fullmatch(name):
            panels[text] = [name.replace("val/", "train/"), name]
    return panels


@styled
def map_figure(
    features: Mapping[str, Tensor], labels: Tensor | None, classes: Sequence[str] | None, kind: str = "tsne"
) -> Figure:
    """Maps of the same samples side by side: `features (N, D)` by title, colored by label where there are labels.

    `kind`: tsne, pca, or umap where umap-learn is installed.
    """
    figure = Figure(figsize=(4.2 * len(features) + 0.8, 4.2), layout="constrained")
    named = sorted(labels.unique().tolist()) if labels is not None else []
    for axes, (title, h) in zip(figure.subplots(1, len(features), squeeze=False).flat, features.items(), strict=True):
        places = project(h, kind)
        for number in named or [None]:
            chosen = slice(None) if number is None or labels is None else labels.numpy() == number
            place = named.index(number) if number in named else 0
            style = {"color": PALETTE[place % 8], "marker": MARKERS[place // 8 % 8]}
            text = classes[number] if classes and number is not None else str(number)
            axes.scatter(*places[chosen].T, s=9, alpha=0.8, linewidth=0, label=text, **style)
        axes.set(title=title, xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color="lightgray")
    if 0 < len(named) <= _MOST_NAMED:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2, ncols=-(-len(named) // 20))
    return figure


@styled
def picture_map(features: Tensor, pictures: Callable[[np.ndarray], Tensor], kind: str) -> Figure:
    """A map of `features (N, D)` by `pictures` of rows (n, C, H, W) in [0, 1], one in each cell of a grid."""
    places = project(features, kind)
    places = (places - places.min(axis=0)) / np.ptp(places, axis=0).clip(1e-12)
    cells, rows = np.unique((places * (_CELLS - 0.01)).astype(int), axis=0, return_index=True)
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    for (x, y), picture in zip(cells, pictures(rows), strict=True):
        draw_image(axes, picture, extent=(x, x + 0.95, y, y + 0.95))
    axes.set(title=f"{len(rows):,} of {len(features):,} pictures", xlim=(0, _CELLS), ylim=(0, _CELLS))
    axes.axis("off")
    return figure


def project(features: Tensor, kind: str) -> np.ndarray:
    """`features (N, D)`, each of length 1, on a map (N, 2); as is common, t-SNE and UMAP of their 50 first components.

    Raises:
        InputError: UMAP is not installed.
    """
    h = principal(F.normalize(features.float(), dim=1), 2 if kind == "pca" else 50).numpy()
    if kind == "pca":
        return h
    if kind == "umap":
        try:
            from umap import UMAP
        except ImportError as error:
            raise InputError("map=umap needs the package umap-learn: pip install 'ssl-lightning[umap]'") from error
        return UMAP(random_state=0, n_jobs=1).fit_transform(h)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(h) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, max_iter=500, random_state=0).fit_transform(h)


def principal(features: Tensor, count: int) -> Tensor:
    """The first `count` principal components of `features (N, D)`; all, if there are fewer."""
    centered = features - features.mean(dim=0)
    u, s, _ = torch.linalg.svd(centered, full_matrices=False)
    return (u * s)[:, :count]
