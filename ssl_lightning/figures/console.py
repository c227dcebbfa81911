"""What a run says on the screen: a few lines at its beginning, a small table at its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

_FIGURES = {
    "probe/knn_accuracy": ("kNN accuracy", "{:.1%}"),
    "probe/linear_accuracy": ("linear accuracy", "{:.1%}"),
    "val/loss": ("loss", "{:.4f}"),
    "val/perplexity": ("perplexity", "{:.2f}"),
    "val/bits_per_byte": ("bits per byte", "{:.3f}"),
}
"""Of any method: label and format."""


@rank_zero_only
def print_run_header(config: DictConfig, run: Path, method: Any, trainer: Any, *, resumed: int | None) -> None:
    """Method, data, size, device and folder, before the training begins; `resumed`: after so many steps, if it is."""
    weights = sum(p.numel() for p in method.parameters() if p.requires_grad)
    device = f"{trainer.world_size} x {trainer.accelerator.__class__.__name__.removesuffix('Accelerator').lower()}"
    batch = _batch(config.data.batch_size, trainer.accumulate_grad_batches)
    rows = {
        "method": f"{type(method).__name__}, {weights / 1e6:.2f} M weights",
        "data": f"{HydraConfig.get().runtime.choices.get('data', '')} {config.data.root}".strip(),
        "batch": f"{batch} over {device}, {trainer.precision}",
        "run": f"{run}{'' if resumed is None else f' (resumed at step {resumed})'}",
    }
    console = Console()
    for name, value in rows.items():
        console.print(f"[bold]{name:>7}[/]  {value}", highlight=False, soft_wrap=True)


def _batch(size: int, accumulated: int) -> str:
    return f"{size}" if accumulated == 1 else f"{accumulated} x {size} = {accumulated * size}"


@rank_zero_only
def print_run_summary(
    run: Path,
    steps: int,
    latest: Mapping[str, float],
    untrained: Mapping[str, float],
    figures: Mapping[str, tuple[str, str]],
) -> None:
    """The latest metrics and those of the untrained encoder, the speed, and where to look.

    `figures`: label and format of the metrics that the method declares.
    """
    table = Table(title=f"after {steps} steps", title_justify="left")
    for heading in ("held out", "this run", "untrained encoder"):
        table.add_column(heading, justify="left" if heading.startswith("held") else "right")
    for name, (label, shown) in {**_FIGURES, **figures}.items():
        if name in latest:
            control = shown.format(untrained[name]) if name in untrained else ""
            table.add_row(label, shown.format(latest[name]), control)
    console = Console()
    if table.row_count:
        console.print(table)
    rate = latest.get("time/samples_per_second")
    lines = {
        "speed": f"{rate:,.0f} samples/s" if rate else "",
        "run": str(run),
        "look at": ", ".join(f"figures/{file.name}" for file in sorted((run / "figures").glob("*.png"))),
        "next": f"ssl-evaluate run={run}",
    }
    for name, value in lines.items():
        if value:
            console.print(f"[bold]{name:>8}[/]  {value}", highlight=False, soft_wrap=True)
