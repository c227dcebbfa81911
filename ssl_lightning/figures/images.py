"""The pretext task of a method as pictures: a column for what it was given, and one for what it made of it."""

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


def draw_image(axes: Any, image: Tensor) -> None:
    """Draws an image (C, H, W) in [0, 1], gray or RGB."""
    axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)


def columns_figure(columns: Mapping[str, Tensor], names: Sequence[str] | None = None) -> Figure:
    """Each sample in a row, with its name, each of `columns` (B, C, H, W) in [0, 1] under its title."""
    rows = len(next(iter(columns.values())))
    figure = Figure(figsize=(1.3 * len(columns), 1.3 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for column, (title, images) in enumerate(columns.items()):
        grid[0, column].set_title(title, fontsize=8)
        for row, image in enumerate(images):
            draw_image(grid[row, column], image)
            grid[row, column].set(xticks=[], yticks=[], frame_on=False)
    for row, name in enumerate(names or ()):
        grid[row, 0].set_ylabel(name, fontsize=6, rotation=0, ha="right", va="center")
    return figure
