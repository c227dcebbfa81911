"""`ssl-report`: runs as a leaderboard with curves and pictures."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from ssl_lightning.errors import InputError
from ssl_lightning.figures.leaderboard import markdown, page, print_leaderboard
from ssl_lightning.figures.table import print_lines
from ssl_lightning.runs.comparison import compare, find_runs, read_run
from ssl_lightning.runs.folder import write_atomically


def report(config: DictConfig) -> None:
    """Prints a leaderboard of `config.runs` and writes `report.md` and `report.html` to Hydra's output folder.

    Raises:
        InputError: a place without a run, or a metric that no run has measured.
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
