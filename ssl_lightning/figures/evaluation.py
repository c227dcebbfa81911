"""An evaluation as people look at it: tables and bars, each figure compared with its controls."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

THIS_RUN, UNTRAINED = "this run", "untrained encoder"
POOLED = "this run, other pool"
"""The same weights, with the mean of a transformer's tokens in the place of its class token, or the other way round."""

Figures = dict[str, dict[str, float]]
"""By what is judged, by metric: `NAME`, and `NAME_low` and `NAME_high` of its interval."""


def show(console: Console, figures: Figures, out: Path, samples: int) -> None:
    """Prints the figures; writes those that have an interval, of `samples`, to `figures/evaluation.png` in `out`."""
    found = figures[THIS_RUN]
    names = [name for name in found if f"{name}_low" in found]
    for name, errors in by_metric(figures, [name for name in found if _plain(name, names)]).items():
        _print_errors(console, name, errors)
    written = [out / "results.json"]
    if names:
        written.append(out / "figures" / "evaluation.png")
        _print_accuracies(console, figures, names, samples)
        written[-1].parent.mkdir(parents=True, exist_ok=True)
        _bars(figures, names).savefig(written[-1], dpi=120, bbox_inches="tight")
    console.print(f"[bold]wrote[/] {', '.join(map(str, written))}", highlight=False, soft_wrap=True)


def by_metric(figures: Figures, names: Iterable[str]) -> Figures:
    """The same figures of some metrics: by metric, by what is judged."""
    return {name: {source: found[name] for source, found in figures.items() if name in found} for name in names}


def _plain(name: str, names: list[str]) -> bool:
    """Whether a metric is neither one of `names` nor an end of its interval."""
    return name.removesuffix("_low").removesuffix("_high") not in names


def _print_errors(console: Console, name: str, errors: dict[str, float]) -> None:
    """A table of one row."""
    note = ", squared, of pixels in [0, 1]" if name.startswith("test/") else ""
    table = Table(title=f"{name.partition('/')[2].replace('_', ' ')}{note}", title_justify="left")
    for source in errors:
        table.add_column(source, justify="right")
    table.add_row(*(f"{error:.5f}" for error in errors.values()))
    console.print(table)


def _print_accuracies(console: Console, figures: Figures, names: list[str], samples: int) -> None:
    sources = {source: found for source, found in figures.items() if found.keys() & set(names)}
    table = Table(
        title=f"accuracy on {samples:,} test samples: 95 % interval; with few labels, worst and best draw",
        title_justify="left",
    )
    table.add_column("")
    for source in sources:
        table.add_column(source, justify="right")
    for name in names:
        table.add_row(_title(name), *(_cell(measured, name) for measured in sources.values()))
    console.print(table)


def _title(name: str) -> str:
    """`probe/linear_accuracy_100` is "linear, 100 labels"; `finetune/accuracy` is "finetune"."""
    kind, _, count = name.partition("accuracy")
    what = kind.removeprefix("probe/").strip("/_")
    return f"{what}, {int(count[1:]):,} labels" if count else what


def _cell(measured: dict[str, float], name: str) -> str:
    if name not in measured:
        return ""
    return f"{measured[name]:.2%}  {measured[f'{name}_low']:.2%} to {measured[f'{name}_high']:.2%}"


def _bars(figures: Figures, names: list[str]) -> Figure:
    figure = Figure(figsize=(2.6 * len(names) + 1, 3))
    colors = {THIS_RUN: "tab:blue", UNTRAINED: "tab:gray", POOLED: "tab:cyan"}
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        shown = {source: measured for source, measured in figures.items() if name in measured}
        values = [measured[name] for measured in shown.values()]
        ranges: Any = [
            [m[name] - m[f"{name}_low"] for m in shown.values()],
            [m[f"{name}_high"] - m[name] for m in shown.values()],
        ]
        bars = axes.bar(
            list(shown), values, yerr=ranges, color=[colors.get(source, "lightgray") for source in shown], capsize=3
        )
        axes.bar_label(bars, [f"{value:.1%}" for value in values], fontsize=7, padding=3)
        axes.set(title=_title(name), ylim=(0, 1.08))
        axes.tick_params(axis="x", labelrotation=20, labelsize=7)
    return figure
