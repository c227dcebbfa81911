"""What a run says on the screen: a few lines at its beginning, a small table at its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from ssl_lightning.figures.metrics import FIGURES
from ssl_lightning.figures.preflight import preflight
from ssl_lightning.figures.table import print_lines, print_table
from ssl_lightning.record import TakesResults
from ssl_lightning.runs.description import describe
from ssl_lightning.runs.folder import RunFolder

_UNSUPERVISED = ("probe/effective_rank", "probe/uniformity", "probe/alignment")
"""Shown where no labels tell more."""


@rank_zero_only
def print_run_header(run: Path, trainer: Any, *, resumed: int | None) -> None:
    """What a run is about to do, and what its user might change; `resumed`: after so many steps, if it is."""
    method, found = trainer.lightning_module, preflight(trainer)
    weights = sum(p.numel() for p in method.parameters() if p.requires_grad)
    chosen = f"{describe(RunFolder(run))[0].get('data', '')} {trainer.datamodule.root}".strip()
    rows = {
        "method": f"{type(method).__name__}, {weights / 1e6:.2f} M weights",
        **found,
        "data": f"{chosen}: {found['data']}",
        # a Trainer's dummy logger takes any call and returns None
        "tracked": ", ".join(logger.where() or "" for logger in trainer.loggers if isinstance(logger, TakesResults)),
        "run": f"{run}{'' if resumed is None else f' (resumed at step {resumed})'}",
    }
    print_lines(Console(), rows)


@rank_zero_only
def print_run_summary(
    run: Path,
    steps: int,
    latest: Mapping[str, float],
    untrained: Mapping[str, float],
    figures: Mapping[str, tuple[str, str]],
    following: str,
) -> None:
    """The latest metrics and those of the untrained encoder, the speed, and where to look.

    `figures`: label and format of the metrics that the method declares. `following`: a command to go on with.
    """
    console = Console()
    if rows := _rows(latest, untrained, {**FIGURES, **figures}):
        headings = ("held out", "this run", "untrained encoder")[: 2 + any(row[2] for row in rows)]
        print_table(console, f"after {steps} steps", headings, [row[: len(headings)] for row in rows])
    if line := _below_untrained(latest, untrained, steps):
        console.print(line, highlight=False, soft_wrap=True)
    rate = latest.get("time/samples_per_second")
    lines = {
        "speed": f"{rate:,.0f} samples/s" if rate else "",
        "run": str(run),
        "look at": ", ".join(f"figures/{file.name}" for file in sorted((run / "figures").glob("*.png"))),
        "next": following,
    }
    print_lines(console, lines)


def _rows(
    latest: Mapping[str, float], untrained: Mapping[str, float], figures: Mapping[str, tuple[str, str]]
) -> list[tuple[str, str, str]]:
    """Label, figure and that of the untrained encoder, where it was measured, of what a run has measured."""
    hidden = _UNSUPERVISED if "probe/knn_accuracy" in latest else ()
    return [
        (label, form.format(latest[name]), form.format(untrained[name]) if name in untrained else "")
        for name, (label, form) in figures.items()
        if name in latest and name not in hidden
    ]


def _below_untrained(latest: Mapping[str, float], untrained: Mapping[str, float], steps: int) -> str:
    """A sentence about the accuracies that are lower than before the training; empty if there are none."""
    below = [
        f"{label} {latest[name]:.1%} (untrained {untrained[name]:.1%})"
        for name, (label, _) in FIGURES.items()
        if name in latest.keys() & untrained and name.endswith("accuracy") and latest[name] < untrained[name]
    ]
    if not below:
        return ""
    return (
        f"[yellow]below the untrained encoder[/] after {steps} steps: {' and '.join(below)};"
        " train longer (trainer.max_epochs), or choose a recipe (experiment=)"
    )
