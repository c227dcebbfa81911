"""What a run says on the screen: a few lines at its beginning, a small table at its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from rich.console import Console

from ssl_lightning.figures.table import print_lines, print_table
from ssl_lightning.record import TakesResults

_FIGURES = {
    "probe/knn_accuracy": ("kNN accuracy", "{:.1%}"),
    "probe/linear_accuracy": ("linear accuracy", "{:.1%}"),
    "probe/effective_rank": ("effective rank of the embedding", "{:.1f}"),
    "probe/uniformity": ("uniformity (lower is more even)", "{:.2f}"),
    "probe/alignment": ("alignment of two views (lower is closer)", "{:.3f}"),
    "val/loss": ("loss", "{:.4f}"),
    "val/perplexity": ("perplexity", "{:.2f}"),
    "val/bits_per_byte": ("bits per byte", "{:.3f}"),
}
"""Of any method: label and format."""

_UNSUPERVISED = ("probe/effective_rank", "probe/uniformity", "probe/alignment")
"""Shown where no labels tell more."""


@rank_zero_only
def print_run_header(config: DictConfig, run: Path, method: Any, trainer: Any, *, resumed: int | None) -> None:
    """Method, data, size, device and folder, before the training begins; `resumed`: after so many steps, if it is."""
    weights = sum(p.numel() for p in method.parameters() if p.requires_grad)
    device = f"{trainer.world_size} x {trainer.accelerator.__class__.__name__.removesuffix('Accelerator').lower()}"
    batch, parts = config.data.batch_size, trainer.accumulate_grad_batches
    if parts > 1:
        batch = f"{parts} x {batch} = {parts * batch}"
    rows = {
        "method": f"{type(method).__name__}, {weights / 1e6:.2f} M weights",
        "data": f"{HydraConfig.get().runtime.choices.get('data', '')} {config.data.root}".strip(),
        "batch": f"{batch} over {device}, {trainer.precision}",
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
    if rows := _rows(latest, untrained, {**_FIGURES, **figures}):
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
        for name, (label, _) in _FIGURES.items()
        if name in latest.keys() & untrained and name.endswith("accuracy") and latest[name] < untrained[name]
    ]
    if not below:
        return ""
    return (
        f"[yellow]below the untrained encoder[/] after {steps} steps: {' and '.join(below)};"
        " train longer (trainer.max_epochs), or choose a recipe (experiment=)"
    )
