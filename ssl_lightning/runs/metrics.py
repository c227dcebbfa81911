"""`metrics.csv`: every metric of a run, one row a step."""

import csv
import io
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from ssl_lightning.errors import warn
from ssl_lightning.runs.folder import write_atomically
from ssl_lightning.runs.history import direction_of, read_rows


class Metrics(Logger):
    """Keeps all metrics in memory and on disk, a column a metric and a row a step, written anew at each `save`.

    When the disk is full the rows stay in memory until a later `save` succeeds.

    Args:
        path: the file.
        step: the run resumes after this step and keeps the rows until there; None: it begins, and keeps none.
    """

    def __init__(self, path: Path, step: int | None = None) -> None:
        super().__init__()
        self.path = path
        self.rows: dict[int, dict[str, float]] = {}
        if step is not None and path.exists():
            rows, damaged, total = read_rows(path)
            self.rows = {number: values for number, values in rows.items() if number <= step}
            if damaged:
                warn(f"{path} is damaged: {damaged} of its {total} rows cannot be read and are left out")

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @property
    def latest(self) -> dict[str, float]:
        """The last value of every metric; step 0 does not count, where the encoder was untrained."""
        last = {name: value for step in sorted(self.rows) if step > 0 for name, value in self.rows[step].items()}
        return dict(sorted(last.items()))

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one metric."""
        steps = [step for step in sorted(self.rows) if name in self.rows[step]]
        return steps, [self.rows[step][name] for step in steps]

    def best(self) -> dict[str, float]:
        """The best value of each probe's accuracy and of each metric of the validation."""
        judged = [name for name in self.latest if name.startswith("val/") or re.fullmatch(r"probe/\w+accuracy", name)]
        return {name: {"min": min, "max": max}[direction_of(name)](self.curve(name)[1]) for name in judged}

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.setdefault(int(step or 0), {}).update({name: float(value) for name, value in metrics.items()})

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the composed config lies in the run folder."""

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:  # a run that was refused leaves no file
            return
        rows = [{"step": step, **self.rows[step]} for step in sorted(self.rows)]
        text = io.StringIO()
        writer = csv.DictWriter(text, dict.fromkeys(["step", *(name for row in rows for name in row)]))
        writer.writeheader()
        writer.writerows(rows)
        try:
            write_atomically(self.path, text.getvalue())
        except OSError as error:
            warn(f"{self.path} cannot be written ({error.strerror}); its rows are kept until it can")
