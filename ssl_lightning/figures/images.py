"""The pretext task of a method as pictures: a column for what it was given, and one for what it made of it."""

import textwrap
from collections.abc import Mapping, Sequence
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


def columns_figure(columns: Mapping[str, Tensor], names: Sequence[str] = ()) -> Figure:
    """Each of `columns` (B, C, H, W) in [0, 1] under its title, each sample in a row; turned without `names`."""
    count, turned = len(next(iter(columns.values()))), not names
    rows, width = (len(columns), count) if turned else (count, len(columns))
    figure = Figure(figsize=(1.3 * width, 1.3 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, width, squeeze=False)
    grid = grid.T if turned else grid
    for column, (title, images) in enumerate(columns.items()):
        for row, image in enumerate(images):
            draw_image(grid[row, column], image)
            grid[row, column].set(xticks=[], yticks=[], frame_on=False)
        _name(grid[0, column], title) if turned else grid[0, column].set_title(title, fontsize=8)
    for row, name in enumerate(names):
        _name(grid[row, 0], name)
    return figure


def _name(axes: Any, text: str) -> None:
    axes.set_ylabel(text, fontsize=8, rotation=0, ha="right", va="center")


def texts_figure(columns: Mapping[str, Sequence[str]], names: Sequence[str] = ()) -> Figure:
    """The same of texts, as much of each as fits."""
    short = {
        title: [textwrap.shorten(text, 200, placeholder=" ...") for text in texts] for title, texts in columns.items()
    }
    lines = 1 + max(len(text) for texts in short.values() for text in texts) // 46
    rows = len(next(iter(short.values())))
    figure = Figure(figsize=(3.2 * len(short), (0.14 * lines + 0.12) * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, len(short), squeeze=False)
    for column, (title, texts) in enumerate(short.items()):
        grid[0, column].set_title(title, fontsize=8)
        for axes, text in zip(grid[:, column], texts, strict=True):
            axes.text(0, 1, textwrap.fill(text, 46), fontsize=7, va="top")
            axes.set(xticks=[], yticks=[], frame_on=False)
    for axes, name in zip(grid[:, 0], names, strict=False):
        _name(axes, name)
    return figure
