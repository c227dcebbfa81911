"""What a run says on the screen: a few lines at its beginning, a small table at its end."""

from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from ssl_lightning.runs.description import choices
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.metrics import Metrics

_FIGURES = {
    "probe/knn_accuracy": ("kNN accuracy", "{:.1%}"),
    "probe/linear_accuracy": ("linear accuracy", "{:.1%}"),
    "probe/effective_rank": ("effective rank of the embedding", "{:.1f}"),
    "probe/uniformity": ("uniformity (lower is more even)", "{:.2f}"),
    "probe/alignment": ("alignment of two views (lower is closer)", "{:.3f}"),
    "val/loss": ("loss", "{:.4f}"),
    "val/perplexity": ("perplexity", "{:.2f}"),
    "val/bits_per_byte": ("bits per byte", "{:.3f}"),
    "val/masked_accuracy": ("hidden tokens guessed", "{:.1%}"),
    "val/token_accuracy": ("tokens guessed", "{:.1%}"),
    "val/next_sentence_accuracy": ("next sentence told", "{:.1%}"),
    "val/pixel_error": ("squared error of pixels", "{:.5f}"),
    "val/error": ("squared error of frames to come", "{:.5f}"),
    "val/persistence_error": ("... of the last frame seen", "{:.5f}"),
    "val/mean_frame_error": ("... of the mean of the frames seen", "{:.5f}"),
}

_UNSUPERVISED = ("probe/effective_rank", "probe/uniformity", "probe/alignment")
"""Shown where no labels tell more."""


@rank_zero_only
def opening(config: DictConfig, run: RunFolder, method: Any, data: Any, trainer: Any, *, resumed: bool) -> None:
    """Method, data, size, device and folder, before anything slow begins."""
    weights = sum(p.numel() for p in method.parameters() if p.requires_grad)
    device = f"{trainer.world_size} x {trainer.accelerator.__class__.__name__.removesuffix('Accelerator').lower()}"
    rows = {
        "method": f"{type(method).__name__}, {weights / 1e6:.2f} M weights",
        "data": f"{choices(run).get('data', '')} {config.data.root}".strip(),
        "batch": f"{config.data.batch_size} over {device}, {trainer.precision}",
        "run": f"{run.path}{' (going on)' if resumed else ''}",
        "tracked": ", ".join(logger.where for logger in trainer.loggers if hasattr(logger, "where")),
    }
    console = Console()
    for name, value in rows.items():
        if value:
            console.print(f"[bold]{name:>7}[/]  {value}", highlight=False, soft_wrap=True)


@rank_zero_only
def closing(run: RunFolder, metrics: Metrics, trainer: Any) -> None:
    """Each probe beside its control, the speed, and where to look."""
    untrained, console = metrics.rows.get(0, {}), Console()
    if rows := _rows(metrics.latest, untrained):
        table = Table(title=f"after {trainer.global_step} steps", title_justify="left")
        table.add_column("held out")
        for heading in ("this run", "untrained encoder")[: 1 + any(row[2] for row in rows)]:
            table.add_column(heading, justify="right")
        for row in rows:
            table.add_row(*row[: len(table.columns)])
        console.print(table)
    if line := _below_untrained(metrics.latest, untrained, trainer.current_epoch):
        console.print(line, highlight=False, soft_wrap=True)
    rate = metrics.latest.get("time/samples_per_second")
    lines = {
        "speed": f"{rate:,.0f} samples/s" if rate else "",
        "run": str(run.path),
        "look at": ", ".join(f"figures/{file.name}" for file in sorted(run.figures.glob("*.png"))),
        "next": _next(run, trainer.lightning_module, trainer.datamodule),
    }
    for name, value in lines.items():
        if value:
            console.print(f"[bold]{name:>8}[/]  {value}", highlight=False, soft_wrap=True)


def _rows(latest: dict[str, float], untrained: dict[str, float]) -> list[tuple[str, str, str]]:
    """Label, figure and that of the untrained encoder, where it was measured, of what a run has measured."""
    labeled = "probe/knn_accuracy" in latest
    shown = {name: how for name, how in _FIGURES.items() if name in latest and not (labeled and name in _UNSUPERVISED)}
    return [
        (label, form.format(latest[name]), form.format(untrained[name]) if name in untrained else "")
        for name, (label, form) in shown.items()
    ]


def _below_untrained(latest: dict[str, float], untrained: dict[str, float], epochs: int) -> str:
    """A sentence about the accuracies that are lower than before the training; empty if there are none."""
    below = [
        f"{label} {latest[name]:.1%} (untrained {untrained[name]:.1%})"
        for name, (label, _) in _FIGURES.items()
        if name in latest.keys() & untrained and name.endswith("accuracy") and latest[name] < untrained[name]
    ]
    if not below:
        return ""
    return (
        f"[yellow]below the untrained encoder[/] after {epochs} epoch{'s'[: epochs != 1]}: {' and '.join(below)};"
        " train longer (trainer.max_epochs), or choose a recipe (experiment=)"
    )


def _next(run: RunFolder, method: Any, data: Any) -> str:
    """A command that can be run on what this run trained."""
    if data.probe_train is not None:
        return f"ssl-evaluate run={run.path}"
    if "tokens" in data.provides:
        return f"ssl-generate run={run.path} text='...'"
    if hasattr(method, "show"):
        return f"ssl-generate run={run.path} input=IMAGES"
    return f"ssl-evaluate run={run.path} data.root=FOLDER_OF_CLASSES"
