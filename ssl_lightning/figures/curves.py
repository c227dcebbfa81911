"""Curves of a run's metrics, and maps of its embedding."""

import re
from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

Curve = tuple[list[int], list[float]]
"""Steps and values."""

_TASK = re.compile(r"(train|val)/\w*accuracy")


def curves_figure(curves: Mapping[str, Curve], figures: Mapping[str, tuple[str, str]]) -> Figure:
    """Loss, the `figures` that a method declares, probes with their control, and health over the steps.

    `curves`: by name of the metric; `figures`: label and format, see `MethodHooks`.
    """
    panels = {
        "loss": ["train/loss", "val/loss"],
        "bits per byte": ["val/bits_per_byte"],
        **_panels(figures),
        "accuracy of the task": sorted(name for name in curves if _TASK.fullmatch(name)),
        "accuracy of the probes": ["probe/knn_accuracy", "probe/linear_accuracy"],
        "effective rank": ["health/effective_rank"],
        "learning rate": ["train/learning_rate"],
    }
    shown = {title: [name for name in names if name in curves] for title, names in panels.items()}
    shown = {title: names for title, names in shown.items() if names}
    figure = Figure(figsize=(4.5 * max(1, len(shown)), 3.2), layout="constrained")
    for axes, (title, names) in zip(
        figure.subplots(1, max(1, len(shown)), squeeze=False).flat, shown.items(), strict=False
    ):
        for name in names:
            steps, values = curves[name]
            (line,) = axes.plot(steps, values, label=name, marker="o" if len(steps) < 40 else "", markersize=3)
            if name.startswith("probe/") and steps[0] == 0:
                axes.axhline(values[0], color=line.get_color(), linestyle=":", label="untrained encoder")
        axes.set(title=title, xlabel="optimizer step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return figure


def _panels(figures: Mapping[str, tuple[str, str]]) -> dict[str, list[str]]:
    """Metrics by the title of their panel; a label that begins with "..." adds to the panel before."""
    panels: dict[str, list[str]] = {}
    for name, (label, _) in figures.items():
        if label.startswith("..."):
            panels[next(reversed(panels))].append(name)
        elif not _TASK.fullmatch(name):
            panels[label] = [name.replace("val/", "train/"), name]
    return panels


def map_figure(features: Tensor, labels: Tensor | None, classes: list[str] | None) -> Figure:
    """t-SNE of `features (N, D)`, colored by label where there are labels."""
    from sklearn.manifold import TSNE

    places = TSNE(
        init="pca", perplexity=min(30.0, (len(features) - 1) / 3), max_iter=500, random_state=0
    ).fit_transform(torch.nn.functional.normalize(features, dim=1).numpy())
    figure = Figure(figsize=(5.5, 5))
    axes = figure.subplots()
    if labels is None:
        axes.scatter(places[:, 0], places[:, 1], s=8, alpha=0.8)
    elif int(labels.max()) >= 10:
        axes.scatter(places[:, 0], places[:, 1], c=labels, s=8, cmap="nipy_spectral", alpha=0.8)
    else:
        for label in labels.unique().tolist():
            name = classes[label] if classes else str(label)
            x, y = places[labels.numpy() == label].T
            axes.scatter(x, y, s=8, color=f"C{label}", alpha=0.8, label=name)
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set(title="embedding of the validation set (t-SNE)", xticks=[], yticks=[])
    return figure
