"""Runs side by side: what each was and measured, and how those that differ by their seed alone vary.

A run folder is data, perhaps a stranger's: whatever is wrong with it becomes its `problem`, and its texts are made
printable.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

from ssl_lightning.errors import InputError, described
from ssl_lightning.runs.description import stored_description
from ssl_lightning.runs.folder import RunFolder, find_run, refuse_links_out
from ssl_lightning.runs.history import direction_of, read_rows
from ssl_lightning.runs.identity import settings
from ssl_lightning.runs.stored_config import read_config

_CHOSEN = ("method", "data")
"""Choices that tell runs apart before any other setting does."""
_FIRST = ("probe/knn_accuracy", "probe/linear_accuracy", "finetune/accuracy", "cluster/accuracy")
_MOST_COLUMNS = 8
_NOT_OF_A_RUN = ("seed", "experiment", "callbacks", "logger", "trainer", "debug", "sweep")


@dataclass(frozen=True)
class Record:
    """A run as its folder tells it; `problem` says why it takes no part in a comparison.

    `metrics`, `controls` (of the untrained encoder) and `raw` (of raw inputs) are those of `results.json` and, as
    `evaluate/NAME` and `evaluate_DATA/NAME`, of its evaluations.
    """

    folder: Path
    problem: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    overridden: Sequence[str] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    controls: Mapping[str, float] = field(default_factory=dict)
    raw: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    rows: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    def setting(self, key: str) -> str:
        return self.choices.get(key) or self.config.get(key, "")


@dataclass(frozen=True)
class Entry:
    """The runs of one config with all their seeds, and what tells it from the other entries."""

    records: Sequence[Record]
    settings: Mapping[str, str]

    @property
    def name(self) -> str:
        found = {key: value for key, value in self.settings.items() if value}
        short = short_names(list(self.settings))
        words = [value if key in _CHOSEN else f"{short[key]}={value}" for key, value in found.items()]
        return " ".join(words) or " ".join(self.records[0].setting(key) for key in _CHOSEN)

    def mean(self, metric: str, of: str = "metrics") -> tuple[float, float | None] | None:
        """Mean over the seeds and half of its 95 % interval (Student's t; None for one seed); None: not measured."""
        values = [getattr(record, of)[metric] for record in self.records if metric in getattr(record, of)]
        if len(values) < 2:
            return (values[0], None) if values else None
        half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
        return fmean(values), half


@dataclass(frozen=True)
class Comparison:
    """Entries, the best by the first of `metrics` first, and the runs that cannot be compared."""

    metrics: Sequence[str]
    entries: Sequence[Entry]
    others: Sequence[Record]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Each key with its last part, or with itself where another ends alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}


def find_runs(place: str | Path) -> list[Path]:
    """The folder of a run, or those of all runs below a folder; links are not followed.

    Raises:
        InputError: there are none.
    """
    path = Path(place).expanduser()
    if not path.is_dir() or (path / ".hydra" / "config.yaml").is_file():
        return [find_run(path).path]
    found = sorted(config.parent.parent for config in path.rglob(".hydra/config.yaml"))
    runs = [folder for folder in found if not (folder / "bench.json").exists()]
    if not runs:
        raise InputError(f"{path} holds no run: give a run, a sweep, or a folder that holds some")
    return runs


def read_run(folder: Path) -> Record:
    """Of any folder with the config of a run, however damaged."""
    run = RunFolder(folder)
    try:
        refuse_links_out(folder)
        choices, overrides = stored_description(run)
        config = settings(read_config(run.config))
        found, evaluations = _json(run.results), sorted(folder.glob("evaluate*/results.json"))
        parts = {"": found, **{f"{plain(file.parent.name)}/": _json(file) for file in evaluations}}.items()
        rows = read_rows(run.metrics)[0] if run.metrics.exists() else {}
        status = plain(found.get("status") or "unfinished")
        method = {"method": str(config["method._target_"]).rpartition(".")[2]}
        figures = {
            of: {name: x for place, part in parts for name, x in _figures(part.get(of), place).items()}
            for of in ("metrics", "controls", "raw")
        }
        return Record(
            folder,
            "" if status == "finished" else f"{status} after {max(rows, default=0)} steps",
            {plain(key): "null" if value is None else plain(value) for key, value in config.items()},
            {plain(key): plain(value) for key, value in {**method, **choices}.items()},
            [plain(override.partition("=")[0].lstrip("+")) for override in overrides],
            seconds=_figures(found.get("timing")).get("wall_seconds", 0.0),
            rows={step: _figures(row) for step, row in rows.items()},
            **figures,
        )
    except (InputError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return Record(folder, f"damaged: {plain(described(error))}")


def compare(records: Iterable[Record], asked: Sequence[str] = ()) -> Comparison:
    """Groups runs that differ by their seed alone, and ranks the groups.

    `asked`: metrics to show, the first to rank by. Others follow: accuracies, or else what needs no labels.
    """
    known = list(records)
    whole = [record for record in known if not record.problem]
    groups: dict[tuple, list[Record]] = {}
    for record in whole:
        key = tuple(sorted((key, value) for key, value in record.config.items() if key != "seed"))
        groups.setdefault(key, []).append(record)
    columns = _differing([group[0] for group in groups.values()])
    entries = [Entry(group, {key: group[0].setting(key) for key in columns}) for group in groups.values()]
    metrics = _shown(whole, asked)
    if metrics:
        sign = 1 if direction_of(metrics[0]) == "min" else -1
        entries.sort(key=lambda entry: sign * found[0] if (found := entry.mean(metrics[0])) else math.inf)
    return Comparison(metrics, entries, [record for record in known if record.problem])


def _differing(runs: Sequence[Record]) -> list[str]:
    """Settings in which runs differ: those that users gave, unless they are many, and what else tells runs apart."""
    given = list(dict.fromkeys([*_CHOSEN, *(key for run in runs for key in run.overridden)]))
    others = dict.fromkeys(key for run in runs for key in [*given, *run.choices, *sorted(run.config)])
    differing = [key for key in others if key not in _NOT_OF_A_RUN and len({run.setting(key) for run in runs}) > 1]
    shown = [key for key in differing if key in given]
    shown = [key for key in shown if len(shown) <= _MOST_COLUMNS or key in _CHOSEN]
    for key in differing:
        before, after = (len({tuple(map(run.setting, keys)) for run in runs}) for keys in (shown, [*shown, key]))
        if after > before:
            shown.append(key)
    return shown


def _shown(records: Sequence[Record], asked: Sequence[str]) -> list[str]:
    measured = dict.fromkeys(name for record in records for name in record.metrics)
    names = [name for name in measured if not name.endswith(("_low", "_high"))]
    evaluated = all(any(name.startswith("evaluate") for name in record.metrics) for record in records)
    judged = [name for name in names if name.startswith("evaluate" if evaluated else ("evaluate", "probe/"))]
    accuracies = [name for name in judged if name.endswith("accuracy")]
    accuracies.sort(key=lambda name: [not name.endswith(first) for first in _FIRST])
    held_out = [name for name in names if name.startswith(("evaluate", "val/"))]
    return [*dict.fromkeys([*(name for name in asked if name in measured), *(accuracies or held_out + judged)[:4]])]


def _json(path: Path) -> dict[str, Any]:
    """Of a file that need not be there."""
    found = json.loads(path.read_text()) if path.exists() else {}
    if not isinstance(found, dict):
        raise InputError(f"{path.name} is no mapping")
    return found


def _figures(found: Any, prefix: str = "") -> dict[str, float]:
    """The numbers of a mapping by name, as far as float32 holds them: their squares and sums are finite too."""
    numbers = {name: x for name, x in (found or {}).items() if isinstance(x, int | float) and abs(x) < 3e38}
    return {prefix + plain(name): float(number) for name, number in numbers.items()}


def plain(text: Any) -> str:
    """At most 200 characters of a text, without those that a terminal obeys."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text)[:200])
