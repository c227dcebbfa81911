"""An evaluation as people look at it: a table and bars, each figure beside its controls."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

POOLED = "this run, other pool"
"""The same weights, with the mean of a transformer's tokens in the place of its class token, or the other way round."""

Figures = dict[str, dict[str, float]]
"""By what is judged, by metric: `NAME`, and `NAME_low` and `NAME_high` of its interval."""


def show(console: Console, figures: Figures, out: Path, samples: int) -> None:
    """Prints the table and writes `figures/evaluation.png` into `out`."""
    names = [name for name in figures["this run"] if f"{name}_low" in figures["this run"]]
    table = Table(
        title=f"accuracy on {samples:,} test samples: 95 % interval; with few labels, worst and best draw",
        title_justify="left",
    )
    table.add_column("")
    for source in figures:
        table.add_column(source, justify="right")
    for name in names:
        table.add_row(_title(name), *(_cell(measured, name) for measured in figures.values()))
    console.print(table)
    path = out / "figures" / "evaluation.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    _bars(figures, names).savefig(path, dpi=120, bbox_inches="tight")
    console.print(f"[bold]wrote[/] {out / 'results.json'}, {path}", highlight=False, soft_wrap=True)


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
    colors = {"this run": "tab:blue", "untrained encoder": "tab:gray", POOLED: "tab:cyan"}
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
