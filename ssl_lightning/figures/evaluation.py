"""An evaluation as people look at it: tables and dots, each figure compared with its controls."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from ssl_lightning.figures.metrics import measured_label, written
from ssl_lightning.figures.style import PALETTE, save, styled
from ssl_lightning.figures.table import print_lines, print_table

THIS_RUN, UNTRAINED, CHANCE = "this run", "untrained encoder", "chance"
POOLED = "this run, other pool"
"""The same weights, with the mean of a transformer's tokens in the place of its class token, or the other way round."""

Figures = dict[str, dict[str, float]]
"""By what is judged, by metric: `NAME`, and `NAME_low` and `NAME_high` of its interval."""

_COLORS = {THIS_RUN: PALETTE[0], UNTRAINED: PALETTE[4], POOLED: PALETTE[5]}
_OTHER = "#999999"
_CURVE = re.compile(r"(robustness/\w+_|layers/)(\d+)_accuracy")


def show(console: Console, figures: Figures, out: Path, samples: int, title: str) -> None:
    """Prints the figures; writes those that have an interval, of `samples`, to `figures/evaluation.png` in `out`."""
    found = figures[THIS_RUN]
    accuracies = [name for name in found if f"{name}_low" in found]
    errors = [name for name in found if name.removesuffix("_low").removesuffix("_high") not in accuracies]
    if errors:
        _print(console, "held out", figures, errors)
    files = [out / "results.json"]
    if accuracies:
        shown = [name for name in accuracies if not _CURVE.fullmatch(name)]
        heading = f"% on {samples:,} test samples (95 % interval; few labels and k-means: worst to best draw)"
        _print(console, heading, figures, shown)
        files.append(out / "figures" / "evaluation.png")
        save(evaluation_figure(figures, accuracies), files[-1], title)
    print_lines(console, {"wrote": ", ".join(map(str, files))})


def _print(console: Console, title: str, figures: Figures, names: list[str]) -> None:
    """A row for each metric, a column for each of what was judged by any of them."""
    sources = {source: found for source, found in figures.items() if found.keys() & set(names)}
    rows = [[measured_label(name), *(_cell(measured, name) for measured in sources.values())] for name in names]
    print_table(console, title, ["", *sources], rows)


def _cell(measured: dict[str, float], name: str) -> str:
    """A percentage with its interval, or another figure; empty where it was not measured."""
    if name not in measured:
        return ""
    if f"{name}_low" not in measured:
        return written(name, measured[name])
    value, low, high = (100 * measured[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.1f} ({low:.1f}-{high:.1f})"


@styled
def evaluation_figure(figures: Figures, names: list[str]) -> Figure:
    """Dots with intervals, a row a metric; beside them curves over strengths of corruption, and over layers."""
    curves: dict[str, list[str]] = {}
    for name in filter(_CURVE.fullmatch, names):
        curves.setdefault(name.partition("/")[0], []).append(name)
    rows = [name for name in names if not _CURVE.fullmatch(name)]
    height = max(2.5, 0.34 * len(rows) + 1.2)
    figure = Figure(figsize=(7 + 4.2 * len(curves), height), layout="constrained")
    axes, *beside = figure.subplots(1, 1 + len(curves), squeeze=False, width_ratios=[1.5] + [1] * len(curves)).flat
    _dots(axes, figures, rows)
    for panel, (kind, members) in zip(beside, curves.items(), strict=True):
        _curves(panel, figures, members)
        panel.set(xlabel={"robustness": "strength of corruption", "layers": "stage or block"}[kind], ylim=(0, 100))
        panel.set_ylabel("accuracy of the linear probe in %")
    return figure


def _dots(axes: Any, figures: Figures, names: list[str]) -> None:
    for number, (source, measured) in enumerate(figures.items()):
        found = [(row, name) for row, name in enumerate(names) if name in measured]
        values = np.array([[100 * measured[f"{name}{end}"] for end in ("", "_low", "_high")] for _, name in found])
        places = [row + 0.16 * (number - (len(figures) - 1) / 2) for row, _ in found]
        if len(values):
            errors = np.abs(values[:, 1:] - values[:, :1]).T
            color = _COLORS.get(source, _OTHER)
            axes.errorbar(values[:, 0], places, xerr=errors, fmt="o", color=color, markersize=4, label=source)
    axes.set_yticks(range(len(names)), [measured_label(name) for name in names], fontsize=8)
    axes.set(xlabel="%", xlim=(-1, 101), ylim=(len(names) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(figures), frameon=False)


def _curves(axes: Any, figures: Figures, names: list[str]) -> None:
    """Of each source a color, of each kind of corruption a style, with the interval shaded."""
    for source, measured in figures.items():
        kinds: dict[str, list[int]] = {}
        for kind, strength in (_CURVE.fullmatch(name).groups() for name in names if name in measured):  # type: ignore[union-attr]
            kinds.setdefault(kind, []).append(int(strength))
        for style, (kind, x) in zip(("-", "--", ":", "-."), kinds.items(), strict=False):
            values, low, high = (
                [100 * measured[f"{kind}{place}_accuracy{end}"] for place in x] for end in ("", "_low", "_high")
            )
            label = ", ".join(filter(None, (source, kind.partition("/")[2].strip("_"))))
            axes.plot(x, values, style, color=_COLORS[source], marker="o", markersize=3, label=label)
            axes.fill_between(x, low, high, color=_COLORS[source], alpha=0.12, linewidth=0)
            axes.set_xticks(x)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)


@styled
def confusion_figure(labels: Any, predicted: Any, classes: Any) -> Figure:
    """Percent of each class (row) that were predicted as each class (column)."""
    shares = confusion_matrix(labels, predicted, labels=range(len(classes)), normalize="true")
    side = max(3.5, 0.4 * len(classes) + 1.5)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    drawn = ConfusionMatrixDisplay(100 * shares, display_labels=classes)
    look: dict[str, Any] = {"cmap": "Blues", "im_kw": {"vmin": 0, "vmax": 100}, "text_kw": {"fontsize": 7}}
    drawn.plot(include_values=len(classes) <= 20, values_format=".0f", xticks_rotation=60, ax=figure.subplots(), **look)
    drawn.im_.colorbar.set_label("% of the class")
    drawn.ax_.set(ylabel="true", xlabel="predicted", title=f"fine-tuned: {np.mean(labels == predicted):.1%} right")
    return figure
