"""Clips of sound as pictures: waveform above spectrogram, and what belongs to their frames."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lightning.figures.images import grid_figure

DECIBELS = 80
"""What a spectrogram shows below its loudest place."""


def sound_figure(
    columns: Mapping[str, Tensor], spectrograms: Mapping[str, Tensor], seconds: float, names: Sequence[str] = ()
) -> Figure:
    """Each sample in a row, with its name, each of `columns` under its title, along the `seconds` of the clip.

    Waveforms (B, S) above their `spectrograms` (B, F, T) in decibels; (B, T, F) as pictures; (B, T), such as
    the codes or the masks of frames, as strips, each value in its color.
    """
    pictures = {
        title: spectrograms[title] if title in spectrograms else values.reshape(*values.shape[:2], -1).mT
        for title, values in columns.items()
    }

    def draw(axes: Any, title: str, row: int) -> None:
        picture, loudest = pictures[title][row].numpy(), float(pictures[title].max())
        sound = title in spectrograms
        if sound:
            wave = columns[title][row].numpy()
            axes.plot(np.linspace(0, seconds, len(wave)), wave, linewidth=0.4)
        axes.imshow(
            picture,
            cmap="magma" if sound or columns[title].ndim > 2 else "nipy_spectral",
            vmin=loudest - DECIBELS if sound else float(pictures[title].min()),
            vmax=loudest,
            extent=(0, seconds, -3 if sound else -1, -1 if sound else 1),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
        axes.set(xlim=(0, seconds), ylim=(-3 if sound else -1, 1))

    rows = len(next(iter(columns.values())))
    figure = grid_figure(dict.fromkeys(columns, range(rows)), names, draw, (2.6, 1.5))
    for axes in figure.axes[-len(columns) :]:
        axes.set_xticks([0, seconds], ["0", f"{seconds:.2g} s"], fontsize=6)
    return figure
