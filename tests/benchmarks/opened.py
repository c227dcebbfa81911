"""What the scripts that measure a run have in common: their arguments, and the run opened."""

import argparse
from pathlib import Path
from typing import Any

from ssl_lightning.config.build import load_config
from ssl_lightning.runs.folder import RunFolder, find_run
from ssl_lightning.runs.load import load_data, load_method


def run_parser(what: str | None) -> argparse.ArgumentParser:
    """Of a script that takes a run and may write its figures; `what`: its docstring."""
    parser = argparse.ArgumentParser(description=(what or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


def open_run(folder: Path) -> tuple[RunFolder, Any, Any, Any]:
    """A run with its config, its data and its trained method."""
    run = find_run(str(folder))
    config = load_config(run.config)
    return run, config, load_data(run, config), load_method(run)[0]
