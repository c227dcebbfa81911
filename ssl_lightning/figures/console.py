"""What a run says on the screen: a few lines at its beginning, a small table at its end."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.metrics import Metrics

_FIGURES = {
    "probe/knn_accuracy": ("kNN accuracy", "{:.1%}"),
    "probe/linear_accuracy": ("linear accuracy", "{:.1%}"),
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


@rank_zero_only
def opening(config: DictConfig, run: RunFolder, method: Any, data: Any, trainer: Any, *, resumed: int | None) -> None:
    """Method, data, size, device and folder, before the training begins; `resumed`: after so many steps, if it is."""
    weights = sum(p.numel() for p in method.parameters() if p.requires_grad)
    device = f"{trainer.world_size} x {trainer.accelerator.__class__.__name__.removesuffix('Accelerator').lower()}"
    rows = {
        "method": f"{type(method).__name__}, {weights / 1e6:.2f} M weights",
        "data": f"{HydraConfig.get().runtime.choices.get('data', '')} {config.data.root}".strip(),
        "batch": f"{config.data.batch_size} over {device}, {trainer.precision}",
        "run": f"{run.path}{'' if resumed is None else f' (resumed at step {resumed})'}",
    }
    console = Console()
    for name, value in rows.items():
        console.print(f"[bold]{name:>7}[/]  {value}", highlight=False, soft_wrap=True)


@rank_zero_only
def closing(run: RunFolder, metrics: Metrics, trainer: Any) -> None:
    """Each probe beside its control, the speed, and where to look."""
    table = Table(title=f"after {trainer.global_step} steps", title_justify="left")
    for heading in ("held out", "this run", "untrained encoder"):
        table.add_column(heading, justify="left" if heading.startswith("held") else "right")
    for name, (label, shown) in _FIGURES.items():
        if name in metrics.latest:
            control = metrics.rows.get(0, {}).get(name)
            table.add_row(label, shown.format(metrics.latest[name]), "" if control is None else shown.format(control))
    console = Console()
    if table.row_count:
        console.print(table)
    rate = metrics.latest.get("time/samples_per_second")
    lines = {
        "speed": f"{rate:,.0f} samples/s" if rate else "",
        "run": str(run.path),
        "look at": ", ".join(f"figures/{file.name}" for file in sorted(run.figures.glob("*.png"))),
        "next": f"ssl-evaluate run={run.path}",
    }
    for name, value in lines.items():
        if value:
            console.print(f"[bold]{name:>8}[/]  {value}", highlight=False, soft_wrap=True)
