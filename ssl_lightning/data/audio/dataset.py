"""A set of clips cut from recordings of any length, which lie in one long array."""

from typing import Any

import numpy as np
import torch

from ssl_lightning.data.audio.audio_cache import to_float
from ssl_lightning.data.windows import WindowDataset


class AudioDataset(WindowDataset):
    """Clips (W, length) that tile the recordings, padded with silence; `groups`: who speaks, or the recordings.

    Args:
        samples: (T,) int16 in memory or memory-mapped, all recordings one after the other.
        offsets, length, known: as those of `WindowDataset`, whose documents are the recordings.
    """

    def __init__(self, samples: np.ndarray, offsets: np.ndarray, length: int, **known: Any) -> None:
        super().__init__(offsets, length, **known)
        self.samples = samples

    def read(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        _, start, size = self.places(rows)
        waveform = np.zeros((len(rows), self.length), np.float32)
        for clip, begin, count in zip(waveform, start, size, strict=True):
            clip[:count] = to_float(self.samples[begin : begin + count])
        return {"waveform": torch.from_numpy(waveform), "length": torch.from_numpy(size)}
