"""Where the configs lie: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path

_INSIDE = Path(__file__).parents[1] / "conf"
CONFIG_DIR: Path = _INSIDE if _INSIDE.is_dir() else Path(__file__).parents[2] / "conf"
