"""The rows of `metrics.csv`, and which values of a metric are better."""

import re
from pathlib import Path
from typing import Literal

_LOSSES = re.compile(r"(^|[/_])(loss|error|perplexity|bits_per_byte)(_|$)")


def direction_of(metric: str) -> Literal["min", "max"]:
    """Which values of a metric are better, by its name: 'min' of losses, errors, perplexity and bits, else 'max'."""
    return "min" if _LOSSES.search(metric) else "max"


def read_rows(path: Path) -> tuple[dict[int, dict[str, float]], int, int]:
    """The metrics of every step, how many rows are damaged and left out, and how many there are."""
    header, *lines = path.read_text(errors="replace").splitlines(keepends=True) or [""]
    names = header.strip().split(",")
    rows = [row for line in lines if (row := _row(names, line))]
    return dict(rows), len(lines) - len(rows), len(lines)


def _row(names: list[str], line: str) -> tuple[int, dict[str, float]] | None:
    """Step and metrics of a row; None of a row that is cut or is none."""
    step, *values = line.strip().split(",")
    if names[0] != "step" or len(names) != 1 + len(values) or not line.endswith("\n"):
        return None
    try:
        return int(step), {name: float(value) for name, value in zip(names[1:], values, strict=True) if value}
    except ValueError:
        return None
