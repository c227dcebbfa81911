"""Runs as a leaderboard: on the screen, in Markdown, and on one HTML page that opens without a network."""

import base64
import hashlib
import html
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ssl_lightning.errors import InputError
from ssl_lightning.figures.metrics import is_share, label, written
from ssl_lightning.figures.table import print_lines, print_table
from ssl_lightning.runs.comparison import Comparison, Entry, Record, compare, find_runs, plain, read_run, short_names
from ssl_lightning.runs.history import direction_of

_PAGE = Path(__file__).with_name("report.html")
_MOST_POINTS = 400
"""Of a curve."""
_MOST_BYTES = 2**22
"""Of a picture; and of all together eight times as many."""
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"GIF87a": "gif", b"GIF89a": "gif"}


def print_leaderboard(console: Console, found: Comparison) -> None:
    """A row for each config, the best first, with as many metrics as fit; below it the runs that cannot be compared."""
    if found.entries:
        shown = found
        while len(shown.metrics) > 1 and _width(shown) > console.width:
            shown = replace(shown, metrics=shown.metrics[:-1])
        print_table(console, _caption(found), *_table(shown), whole=True)
    if found.others:
        print_lines(console, {plain(run.folder): run.problem for run in found.others})


def print_sweep(folder: Path, objective: str | None) -> None:
    """The leaderboard of a sweep that is over, by its objective, and what shows more of it."""
    with suppress(InputError):  # where none of its jobs has begun to train
        found = compare(map(read_run, find_runs(folder)), [objective] if objective else [])
        print_leaderboard(Console(), found)
        print_lines(Console(), {"next": f"ssl-report {shlex.quote(str(folder))}"})


def markdown(found: Comparison, place: Path) -> str:
    """The same with the folders of the runs, seen from the folder `place` in which the text lies."""
    headings, rows = _table(found)
    lines = ["# Runs", "", _caption(found), "", _line(headings), _line(["---"] * len(headings)), *map(_line, rows)]
    where = [(f"{entry.name}: ", run.folder) for entry in found.entries for run in entry.records]
    lines += ["", *(f"- {_escaped(name)}{_escaped(_seen_from(folder, place))}" for name, folder in where)]
    lines += [f"- {_escaped(_seen_from(run.folder, place))}: {_escaped(run.problem)}" for run in found.others]
    return "\n".join(lines) + "\n"


def _caption(found: Comparison) -> str:
    better = {"min": "lower", "max": "higher"}[direction_of(found.metrics[0])] if found.metrics else ""
    by = f", by {label(found.metrics[0])} ({better} is better)" if found.metrics else ""
    several = any(len(entry.records) > 1 for entry in found.entries)
    spread = "; mean ± half of its 95 % interval over seeds" if several else ""
    count = len(found.entries)
    return f"{count} {'config' if count == 1 else 'configs'}{by}{spread}"


def _table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: what differs, the number of runs, each metric beside its control, the time."""
    controlled = [m for m in found.metrics if any(entry.mean(m, "controls") for entry in found.entries)]
    headings = ["", "runs", *(name for m in found.metrics for name in _headings(m, m in controlled)), "time"]
    rows = []
    for entry in found.entries:
        cells = [entry.name, str(len(entry.records))]
        for metric in found.metrics:
            for of in ("metrics", "controls")[: 1 + (metric in controlled)]:
                value = entry.mean(metric, of)
                cells.append(written(metric, value[0], value[1] if of == "metrics" else None) if value else "")
        rows.append([*cells, f"{_seconds(entry) / 60:.1f} min"])
    return headings, rows


def _width(found: Comparison) -> int:
    """Characters of the table on a screen, whose first column may be folded."""
    headings, rows = _table(found)
    columns = zip(headings[1:], *(row[1:] for row in rows), strict=True)
    return 20 + sum(max(map(len, column)) + 3 for column in columns)


def _headings(metric: str, controlled: bool) -> list[str]:
    return [label(metric).removesuffix(" accuracy"), "untrained"][: 1 + controlled]


def _seconds(entry: Entry) -> float:
    return sum(record.seconds for record in entry.records) / len(entry.records)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell if set(cell) == {'-'} else _escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """As Markdown that means nothing but itself."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", html.escape(text, quote=False))


def _seen_from(folder: Path, place: Path) -> str:
    inside = folder.resolve().is_relative_to(place.resolve())
    return plain(folder.resolve().relative_to(place.resolve()) if inside else folder)


def page(found: Comparison) -> str:
    """An HTML page that holds all it shows; its script writes what runs say as text, and no other script can run."""
    content = json.dumps(_content(found)).replace("<", "\\u003c")
    text = _PAGE.read_text()
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return text.replace("SCRIPT_DIGEST", digest).replace("REPORT_CONTENT", content)


def _content(found: Comparison) -> dict[str, Any]:
    runs = [run for entry in found.entries for run in entry.records]
    names = dict.fromkeys([*found.metrics, *(name for run in runs for name in run.metrics)])
    shown = [name for name in names if not name.endswith(("_low", "_high"))]
    budget = [8 * _MOST_BYTES]
    return {
        "caption": _caption(found),
        "columns": list(short_names(list(found.entries[0].settings)).items()) if found.entries else [],
        "shown": list(found.metrics),
        "metrics": {m: {"label": label(m), "share": is_share(m), "better": direction_of(m)} for m in shown},
        "entries": [_entry(entry, shown, budget) for entry in found.entries],
        "others": [{"folder": plain(run.folder), "problem": run.problem} for run in found.others],
    }


def _entry(entry: Entry, metrics: Sequence[str], budget: list[int]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "settings": list(entry.settings.values()),
        "minutes": _seconds(entry) / 60,
        "values": {name: value for name in metrics if (value := entry.mean(name))},
        **{of: {name: value[0] for name in metrics if (value := entry.mean(name, of))} for of in ("controls", "raw")},
        "runs": [{"folder": plain(run.folder), "seed": run.setting("seed"), **_curves(run)} for run in entry.records],
        "pictures": dict(_pictures(entry.records[0].folder, budget)),
    }


def _curves(run: Record) -> dict[str, Any]:
    """Steps, minutes and values of each metric. Where no time was logged, a run is taken to be as fast all along."""
    timed = {step: row["time/wall_seconds"] for step, row in sorted(run.rows.items()) if "time/wall_seconds" in row}
    timed = {0: 0.0, **(timed or {max(run.rows, default=1): run.seconds})}
    curves: dict[str, list[list[float]]] = {}
    for step, row in sorted(run.rows.items()):
        for name, value in row.items():
            curves.setdefault(name, []).append([step, value])
    made = {}
    for name, points in curves.items():
        steps, values = np.array(points[:: -(-len(points) // _MOST_POINTS)], dtype=float).T
        minutes = np.interp(steps, list(timed), list(timed.values())) / 60
        made[name] = [steps.tolist(), minutes.tolist(), values.tolist()]
    return {"curves": made}


def _pictures(run: Path, budget: list[int]) -> Iterator[tuple[str, str]]:
    """Name and data URI of the run's pictures, of PNG and GIF files alone, while they are small enough."""
    for file in [*sorted(run.glob("figures/*")), *sorted(run.glob("evaluate*/figures/*.png"))]:
        if file.stem == "curves" or not file.is_file() or file.stat().st_size > min(_MOST_BYTES, budget[0]):
            continue
        data = file.read_bytes()
        kind = next((kind for start, kind in _KINDS.items() if data.startswith(start)), None)
        if kind:
            budget[0] -= len(data)
            name = file.relative_to(run).parent.parent / file.stem
            yield plain(name), f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
