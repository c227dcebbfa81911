"""Clips of sound as pictures: waveform above spectrogram, and what belongs to their frames."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor


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
        for row, sample in enumerate(values):
            frames = spectrograms[title][row] if title in spectrograms else sample.reshape(len(sample), -1).T
            axes = cells[row, column].subplots(1 + (title in spectrograms), 1, squeeze=False)[:, 0]
            for place in axes:
                place.set(xticks=[], yticks=[], xlim=(0, seconds))
            if title in spectrograms:
                axes[0].plot([n * seconds / len(sample) for n in range(len(sample))], sample.numpy(), linewidth=0.4)
                axes[0].set(ylim=(-1, 1), frame_on=False)
            _picture(
                axes[-1], frames, seconds, "magma" if values.ndim == 3 or title in spectrograms else "nipy_spectral"
            )
            if row == rows - 1:
                axes[-1].set_xticks([0, seconds], ["0", f"{seconds:.2g} s"], fontsize=6)
            if row < len(names) and column == 0:
                axes[-1].set_ylabel(names[row], fontsize=6, rotation=0, ha="right", va="center")
    return figure


def _picture(axes: Any, frames: Tensor, seconds: float, colors: str) -> None:
    """(F, T) with the lowest row at the bottom."""
    extent = (0, seconds, 0, len(frames))
    axes.imshow(frames.numpy(), origin="lower", aspect="auto", interpolation="nearest", cmap=colors, extent=extent)
