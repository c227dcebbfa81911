"""Tables and labeled lines on a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from rich import markup
from rich.console import Console
from rich.table import Table

from ssl_lightning.errors import printable


def print_table(
    console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], whole: bool = False
) -> None:
    """A table with a title above it; the first column is of names, the others are of numbers, which stay `whole`."""
    table = Table(title=escape(title), title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(
            escape(heading), justify="right" if number else "left", overflow="fold", no_wrap=whole and number > 0
        )
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def escape(text: str) -> str:
    """As rich prints it: no part of it is markup, or moves the cursor."""
    return markup.escape(printable(text))


def print_lines(console: Console, lines: Mapping[str, str]) -> None:
    """A line for each label and its text, unless that is empty; long lines are left to the terminal."""
    width = max(map(len, lines))
    for label, text in lines.items():
        if text:
            console.print(f"[bold]{escape(f'{label:>{width}}')}[/]  {escape(text)}", highlight=False, soft_wrap=True)
