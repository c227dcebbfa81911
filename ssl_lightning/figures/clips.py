"""Clips as pictures: a strip of their frames side by side, and a GIF."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid

from ssl_lightning.figures.images import draw_image, grid_figure

_SMALLEST = 128
"""Side in pixels that frames of a GIF are blown up to at least."""
_GRAY, _ORANGE = (0.5, 0.5, 0.5), (1.0, 0.6, 0.0)


def clip_figure(columns: Mapping[str, Tensor], names: Sequence[str] = ()) -> Figure:
    """Of each sample the first of `columns` (B, T, C, H, W) in [0, 1] as a strip, behind it the others in rows.

    So what was seen is followed by what was predicted, and below that by what came.
    """
    first, *others = columns
    before = [columns[first], *[torch.ones_like(columns[first])] * (len(others) - 1)]
    rows = [torch.cat([seen, columns[name]], dim=1) for seen, name in zip(before, others, strict=True)]
    T, gap = rows[0].shape[1], 1 + rows[0].shape[-1] // 16
    strips = [make_grid(frames, nrow=T, padding=gap, pad_value=1) for frames in torch.cat(rows, dim=1)]
    title = f"{first}, then {', below it '.join(others)}"
    return grid_figure({title: strips}, names, lambda axes, _, x: draw_image(axes, x), (0.7 * T, 0.75 * len(rows)))


def write_gif(path: Path, columns: Mapping[str, Tensor], milliseconds: int = 200) -> None:
    """The same as an endless film: a row for each sample, a panel for each column but the first.

    Each panel begins with the frames of the first column, framed gray; its own follow, framed orange.

    Raises:
        OSError: it cannot be written.
    """
    first, *others = columns
    seen = columns[first].shape[1]
    panels = torch.stack([_framed(torch.cat([columns[first], columns[n]], dim=1), seen) for n in others], dim=1)
    pages = [make_grid(page.flatten(0, 1), nrow=len(others), padding=0) for page in panels.unbind(dim=2)]
    images = [to_pil_image(page) for page in pages]
    images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds, loop=0)


def _framed(clips: Tensor, seen: int) -> Tensor:
    """(B, T, 1 or 3, H, W) in [0, 1] -> (B, T, 3, h, w): blown up by a whole number, in a colored frame."""
    scale = -(-_SMALLEST // clips.shape[-1])
    clips = clips.expand(-1, -1, 3, -1, -1).repeat_interleave(scale, 3).repeat_interleave(scale, 4)
    B, T, _, h, w = clips.shape
    colors = torch.tensor([_GRAY] * seen + [_ORANGE] * (T - seen))
    framed = colors[:, :, None, None].repeat(B, 1, 1, h + 6, w + 6).view(B, T, 3, h + 6, w + 6)
    framed[..., 3:-3, 3:-3] = clips
    return framed
