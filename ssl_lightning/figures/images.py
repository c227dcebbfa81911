"""The pretext task of a method as pictures: a column for what it was given, and one for what it made of it."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor

matplotlib.use("Agg")


def unnormalized(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, C, H, W) normalized -> in [0, 1], as they are looked at."""
    shift, scale = (torch.tensor(list(values)).view(1, -1, 1, 1) for values in (mean, std))
    return (images.float().cpu() * scale + shift).clamp(0, 1)


def draw_image(axes: Any, image: Tensor, **options: Any) -> None:
    """Draws an image (C, H, W) in [0, 1], gray or RGB."""
    axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, **options)


def grid_figure(
    columns: Mapping[str, Sequence[Any] | Tensor],
    names: Sequence[str],
    draw: Callable[[Any, str, Any], None],
    cell: tuple[float, float],
    turned: bool = False,
) -> Figure:
    """Each of `columns` under its title, each sample in a row with its name, in cells of so many inches.

    `draw(axes, title, value)` fills a cell. `turned`: a row for each of `columns`, with its title before it.
    """
    shape = (len(next(iter(columns.values()))), len(columns))
    rows, width = shape[::-1] if turned else shape
    figure = Figure(figsize=(cell[0] * width, cell[1] * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, width, squeeze=False)
    for column, (title, values) in zip(grid.T if not turned else grid, columns.items(), strict=True):
        _name(column[0], title) if turned else column[0].set_title(title, fontsize=8)
        for axes, value in zip(column, values, strict=True):
            axes.set(xticks=[], yticks=[], frame_on=False)
            draw(axes, title, value)
    for axes, name in zip(grid[:, 0], names, strict=False):
        _name(axes, name)
    return figure


def _name(axes: Any, text: str) -> None:
    axes.set_ylabel(text, fontsize=8, rotation=0, ha="right", va="center")


def columns_figure(columns: Mapping[str, Tensor], names: Sequence[str] = ()) -> Figure:
    """The grid of images (B, C, H, W) in [0, 1]; turned without `names`."""
    return grid_figure(columns, names, lambda axes, _, image: draw_image(axes, image), (1.3, 1.3), turned=not names)


def texts_figure(columns: Mapping[str, Sequence[str]], names: Sequence[str] = ()) -> Figure:
    """The grid of texts, as much of each as fits."""
    wrapped = {
        title: [textwrap.wrap(text, 46, max_lines=5, placeholder=" ...") for text in texts]
        for title, texts in columns.items()
    }
    most = max(len(lines) for texts in wrapped.values() for lines in texts)

    def draw(axes: Any, _: str, lines: list[str]) -> None:
        axes.text(0, 1, "\n".join(lines), fontsize=7, va="top")

    return grid_figure(wrapped, names, draw, (3.2, 0.14 * most + 0.12))
