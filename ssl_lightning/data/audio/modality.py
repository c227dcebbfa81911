"""Sound as commands and callbacks see it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lightning.data.audio.audio_cache import blocks, to_float, to_int16
from ssl_lightning.data.audio.audio_folder import EXTENSIONS
from ssl_lightning.data.modality import Batch, Modality
from ssl_lightning.errors import told
from ssl_lightning.figures.sound import sound_figure
from ssl_lightning.modules.segment_means import segment_means
from ssl_lightning.modules.spectrogram import MFCC, LogMel


class AudioModality(Modality):
    """`waveform` (B, S) float32 in [-1, 1], whose first `length` (B,) samples are no padding; S = `samples`."""

    name = "audio"
    key = "waveform"
    extensions = EXTENSIONS
    raw_name = "MFCC segment means"

    def __init__(self, sample_rate: int, samples: int) -> None:
        self.sample_rate, self.samples = sample_rate, samples
        window, hop = round(0.032 * sample_rate), round(0.01 * sample_rate)
        self.log_mel = LogMel(sample_rate, window, hop)
        self.mfcc = MFCC(sample_rate, window, hop, coefficients=20)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"sample_rate": self.sample_rate}

    def evaluation_view(self, batch: Batch) -> Batch:
        """The batch itself; where it tells no `length`, clips are whole."""
        waveform = batch["waveform"]
        whole = torch.full(waveform.shape[:1], waveform.shape[1], device=waveform.device)
        return {"length": whole, **batch, "waveform": waveform.float()}

    def read_samples(self, samples: Sequence[Any]) -> Batch:
        """Of files, or arrays (n,) of samples in [-1, 1]: the first `samples` of each."""
        clips = [self._clip(sample) for sample in samples]
        waveform = torch.zeros(len(clips), self.samples)
        for row, clip in zip(waveform, clips, strict=True):
            row[: len(clip)] = clip
        return {"waveform": waveform, "length": torch.tensor([len(clip) for clip in clips])}

    def _clip(self, given: Any) -> Tensor:
        file = isinstance(given, str | Path)
        with told(f"{given if file else type(given).__name__} cannot be read as sound"):
            if file:
                found = blocks(Path(given).expanduser(), self.sample_rate, self.samples)
                clip = to_float(to_int16(np.concatenate([np.zeros(0, np.float32), *found])))
            else:
                clip = np.asarray(given, dtype=np.float32)
            if clip.ndim != 1 or not len(clip):
                raise ValueError(f"it should be samples (n,), at least one, and is {clip.shape}")
        return torch.from_numpy(clip[: self.samples])

    def draw(self, columns: Mapping[str, Tensor], names: Sequence[str] = ()) -> Figure:
        """Waveforms (B, `samples`) above their spectrograms; (B, T, F) as pictures, (B, T) as strips of values."""
        spectrograms = {title: self.log_mel(x) for title, x in columns.items() if x.shape[1:] == (self.samples,)}
        return sound_figure(columns, spectrograms, self.samples / self.sample_rate, names)

    def _numbers(self, batch: Batch) -> Tensor:
        view = self.evaluation_view(batch)
        return segment_means(self.mfcc(view["waveform"]), self.mfcc.frames(view["length"]))
