"""One style for every picture: colors that color-blind readers tell apart, a title that says which run it is."""

import warnings
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.text import Text

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Okabe and Ito 2008, https://jfly.uni-koeln.de/color."""
MARKERS = "o^sDvP*X"

_STYLE: dict[str, Any] = {
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
}
styled = matplotlib.rc_context(_STYLE)  # type: ignore[arg-type]  # its keys are texts
"""Decorates a function that makes a figure."""


def save(figure: Figure, path: Path, title: str) -> Path:
    """Writes a figure with a title above it.

    Raises:
        OSError: it cannot be written.
    """
    if not figure.get_suptitle():
        figure.suptitle(title, fontsize=11)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a user's texts may have any character
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(path, dpi=120, bbox_inches="tight")
    return path
