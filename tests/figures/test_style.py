"""What stands on figures and on the terminal is text, whoever wrote it."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from ssl_lightning.errors import one_line
from ssl_lightning.figures.style import save
from ssl_lightning.figures.table import print_lines, print_table

EVIL = "[/b] \x1b]0;title\x07 \udcff \u202e\n"


def test_a_dollar_is_a_dollar(tmp_path: Path) -> None:
    figure = Figure()
    figure.subplots().set_xticks([0], [r"$\foo{$"])
    assert save(figure, tmp_path / "figure.png", r"$5 for $\bar").stat().st_size > 1000


def test_texts_of_strangers_are_printed_without_what_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(Console(width=200), EVIL, [EVIL], [[EVIL]])
    print_lines(Console(width=200), {"label": EVIL})
    said = capsys.readouterr().out
    assert said.count("[/b] ?]0;title? ? ?") == 4
    assert one_line(EVIL) == "[/b] ?]0;title? ? ?"
