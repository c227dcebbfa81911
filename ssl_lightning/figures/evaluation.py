"""An evaluation as people look at it: tables and bars, each figure compared with its controls."""

from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from ssl_lightning.figures.table import print_lines, print_table

THIS_RUN, UNTRAINED = "this run", "untrained encoder"
POOLED = "this run, other pool"
"""The same weights, with the mean of a transformer's tokens in the place of its class token, or the other way round."""

Figures = dict[str, dict[str, float]]
"""By what is judged, by metric: `NAME`, and `NAME_low` and `NAME_high` of its interval."""


def show(console: Console, figures: Figures, out: Path, samples: int) -> None:
    """Prints the figures; writes those that have an interval, of `samples`, to `figures/evaluation.png` in `out`."""
    found = figures[THIS_RUN]
    accuracies = [name for name in found if f"{name}_low" in found]
    errors = [name for name in found if name.removesuffix("_low").removesuffix("_high") not in accuracies]
    if errors:
        _print(console, "held out", figures, errors)
    written = [out / "results.json"]
    if accuracies:
        title = f"accuracy on {samples:,} test samples: 95 % interval; with few labels, worst and best draw"
        _print(console, title, figures, accuracies)
        written.append(out / "figures" / "evaluation.png")
        written[-1].parent.mkdir(parents=True, exist_ok=True)
        _bars(figures, accuracies).savefig(written[-1], dpi=120, bbox_inches="tight")
    print_lines(console, {"wrote": ", ".join(map(str, written))})


def by_metric(figures: Figures, names: Iterable[str]) -> Figures:
    """The same figures of some metrics: by metric, by what is judged."""
    return {name: {source: found[name] for source, found in figures.items() if name in found} for name in names}


def _print(console: Console, title: str, figures: Figures, names: list[str]) -> None:
    """A row for each metric, a column for each of what was judged by any of them."""
    sources = {source: found for source, found in figures.items() if found.keys() & set(names)}
    rows = [[_title(name), *(_cell(measured, name) for measured in sources.values())] for name in names]
    print_table(console, title, ["", *sources], rows)


def _title(name: str) -> str:
    """`probe/linear_accuracy_100` is "linear, 100 labels"; `finetune/accuracy` is "finetune"."""
    if name.startswith(("test/", "val/")):
        pixels = ", squared, of pixels in [0, 1]" if name.endswith("_error") else ""
        return name.partition("/")[2].replace("_", " ") + pixels
    kind, _, count = name.partition("accuracy")
    what = kind.removeprefix("probe/").strip("/_")
    return f"{what}, {int(count[1:]):,} labels" if count else what


def _cell(measured: dict[str, float], name: str) -> str:
    """An accuracy with its interval, or an error; empty where it was not measured."""
    if name not in measured:
        return ""
    if f"{name}_low" not in measured:
        return f"{measured[name]:.5f}"
    return f"{measured[name]:.2%}  {measured[f'{name}_low']:.2%} to {measured[f'{name}_high']:.2%}"


def _bars(figures: Figures, names: list[str]) -> Figure:
    figure = Figure(figsize=(2.6 * len(names) + 1, 3))
    colors = {THIS_RUN: "tab:blue", UNTRAINED: "tab:gray", POOLED: "tab:cyan"}
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        for source, measured in figures.items():
            if name in measured:
                value, low, high = (measured[f"{name}{end}"] for end in ("", "_low", "_high"))
                interval = [[value - low], [high - value]]
                bars = axes.bar(source, value, yerr=interval, color=colors.get(source, "lightgray"), capsize=3)
                axes.bar_label(bars, [f"{value:.1%}"], fontsize=7, padding=3)
        axes.set(title=_title(name), ylim=(0, 1.08))
        axes.tick_params(axis="x", labelrotation=20, labelsize=7)
    return figure
