"""Clips of sound as pictures: waveform above spectrogram, and what belongs to their frames."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

DECIBELS = 80
"""What a spectrogram shows below its loudest place."""


def sound_figure(
    columns: Mapping[str, Tensor], spectrograms: Mapping[str, Tensor], seconds: float, names: Sequence[str] = ()
) -> Figure:
    """Each sample in a row, with its name, each of `columns` under its title, along the `seconds` of the clip.

    Waveforms (B, S) with their `spectrograms` (B, F, T) in decibels below them; (B, T, F) as pictures; (B, T), such as
    the codes or the masks of frames, as strips, each value in its color.
    """
    rows = len(next(iter(columns.values())))
    figure = Figure(figsize=(2.6 * len(columns), 1.5 * rows + 0.4), layout="constrained")
    cells = figure.subfigures(rows, len(columns), squeeze=False)
    for column, (title, values) in enumerate(columns.items()):
        cells[0, column].suptitle(title, fontsize=8)
        sound = title in spectrograms
        pictures = (spectrograms[title] if sound else values.reshape(*values.shape[:2], -1).mT).numpy()  # (B, F, T)
        colors = Normalize(pictures.max() - DECIBELS if sound else pictures.min(), pictures.max())
        for row, picture in enumerate(pictures):
            axes = cells[row, column].subplots(1 + sound, 1, squeeze=False)[:, 0]
            for place in axes:
                place.set(xticks=[], yticks=[], xlim=(0, seconds))
            if sound:
                axes[0].plot(np.linspace(0, seconds, values.shape[1]), values[row].numpy(), linewidth=0.4)
                axes[0].set(ylim=(-1, 1), frame_on=False)
            axes[-1].imshow(
                picture,
                cmap="magma" if sound or values.ndim > 2 else "nipy_spectral",
                norm=colors,
                extent=(0, seconds, 0, len(picture)),
                origin="lower",
                aspect="auto",
                interpolation="nearest",
            )
            if row == rows - 1:
                axes[-1].set_xticks([0, seconds], ["0", f"{seconds:.2g} s"], fontsize=6)
            if row < len(names) and column == 0:
                axes[-1].set_ylabel(names[row], fontsize=6, rotation=0, ha="right", va="center")
    return figure
