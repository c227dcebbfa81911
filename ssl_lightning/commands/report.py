"""`ssl-report`: runs as a leaderboard with curves and pictures."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from ssl_lightning.errors import InputError
from ssl_lightning.figures.leaderboard import markdown, page, print_leaderboard
from ssl_lightning.figures.table import print_lines
from ssl_lightning.runs.comparison import Comparison, compare, find_runs, read_run
from ssl_lightning.runs.folder import RunFolder, write_atomically
from ssl_lightning.runs.stored_config import read_config, wandb_settings


def report(config: DictConfig) -> None:
    """Prints a leaderboard of `config.runs` and writes `report.md` and `report.html` to Hydra's output folder.

    With `config.wandb` both are also added to the W&B run of each that was tracked there.

    Raises:
        InputError: a place without a run, a metric that no run has measured, or no run that was tracked.
    """
    folders = dict.fromkeys(folder.resolve() for place in config.runs for folder in find_runs(place))
    records = [read_run(folder) for folder in folders]
    known = sorted({name for record in records for name in record.metrics})
    for metric in config.metrics:
        if metric not in known:
            raise InputError(f"no run has measured {metric}; they measured {', '.join(known) or 'nothing'}")
    found, out, console = compare(records, list(config.metrics)), Path(HydraConfig.get().runtime.output_dir), Console()
    print_leaderboard(console, found)
    write_atomically(out / "report.md", markdown(found, out))
    write_atomically(out / "report.html", page(found))
    print_lines(console, {"wrote": f"{out / 'report.html'}, {out / 'report.md'}"})
    if config.wandb:
        _track(found, out / "report.html")


def _track(found: Comparison, page: Path) -> None:
    from ssl_lightning.loggers.wandb import log_report

    columns = ["config", "runs", *(name for metric in found.metrics for name in (metric, f"untrained/{metric}"))]
    rows: list[list] = []
    for entry in found.entries:
        means = [entry.mean(metric, of) for metric in found.metrics for of in ("metrics", "controls")]
        rows.append([entry.name, len(entry.records), *(mean and mean[0] for mean in means)])
    runs = [RunFolder(record.folder) for entry in found.entries for record in entry.records]
    tracked = [(run, settings) for run in runs if (settings := wandb_settings(read_config(run.config)))]
    if not tracked:
        raise InputError("wandb=true: none of these runs was tracked; train with logger=wandb")
    for run, settings in tracked:
        log_report(run, settings, columns, rows, page)
