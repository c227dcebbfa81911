"""The stored results of this folder, and how its pages write a figure and a table."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def load(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def interval(figures: dict[str, float], name: str) -> str:
    """The figure and half the width of its 95 % bootstrap interval, in points."""
    half = 100 * (figures[f"{name}_high"] - figures[f"{name}_low"]) / 2
    return f"{100 * figures[name]:.1f} ± {half:.1f}"
