"""Clips as pictures: a strip of their frames side by side, and a GIF."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.figures.images import draw_image

_SMALLEST = 128
"""Side in pixels that frames of a GIF are blown up to at least."""
_GRAY, _ORANGE = (0.5, 0.5, 0.5), (1.0, 0.6, 0.0)


def clip_figure(columns: Mapping[str, Tensor]) -> Figure:
    """Of each sample the first of `columns` (B, T, C, H, W) in [0, 1] as a strip, behind it the others in rows.

    So what was seen is followed by what was predicted, and below that by what came.
    """
    first, *others = columns
    shape = columns[first].shape
    T = shape[1] + max(columns[name].shape[1] for name in others)
    figure = Figure(figsize=(0.7 * T, 0.75 * shape[0] * len(others) + 0.3), layout="constrained")
    grid = figure.subplots(shape[0] * len(others), T, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for sample in range(shape[0]):
        for row, name in enumerate(others, start=sample * len(others)):
            if row % len(others) == 0:
                _strip(grid[row], columns[first][sample])
            _strip(grid[row, shape[1] :], columns[name][sample])
            if sample == 0:
                grid[row, shape[1]].set_title(name, fontsize=8, loc="left", pad=2)
    grid[0, 0].set_title(first, fontsize=8, loc="left", pad=2)
    return figure


def _strip(axes: Any, frames: Tensor) -> None:
    for place, frame in zip(axes, frames, strict=False):
        draw_image(place, frame)


def write_gif(path: Path, columns: Mapping[str, Tensor], milliseconds: int = 200) -> None:
    """The same as an endless film: a row for each sample, a panel for each column but the first.

    Each panel begins with the frames of the first column, framed gray; its own follow, framed orange.

    Raises:
        OSError: it cannot be written.
    """
    first, *others = columns
    panels = [torch.cat([columns[first], columns[name]], dim=1) for name in others]
    seen = columns[first].shape[1]
    frames = torch.stack([_framed(panel, seen) for panel in panels], dim=3)  # (B, T, 3, panels, h, w)
    B, T, _, n, h, w = frames.shape
    pages = frames.permute(1, 0, 4, 3, 5, 2).reshape(T, B * h, n * w, 3)
    images = [Image.fromarray(page) for page in pages.mul(255).round().to(torch.uint8).numpy()]
    images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds, loop=0)


def _framed(clips: Tensor, seen: int) -> Tensor:
    """(B, T, 1 or 3, H, W) in [0, 1] -> (B, T, 3, h, w): blown up by a whole number, in a colored frame."""
    scale = -(-_SMALLEST // clips.shape[-1])
    clips = clips.expand(-1, -1, 3, -1, -1).repeat_interleave(scale, 3).repeat_interleave(scale, 4)
    color = torch.tensor([_GRAY] * seen + [_ORANGE] * (clips.shape[1] - seen))[:, :, None, None]
    border = F.pad(torch.zeros_like(clips[:1, :1, :1]), (3, 3, 3, 3), value=1.0)
    return torch.lerp(F.pad(clips, (3, 3, 3, 3)), color.expand(*color.shape[:2], *border.shape[-2:]), border)
