"""Front ends of sound: log-mel spectrogram and MFCC, equal to librosa's on the same parameters."""

from typing import Any

import torch
from scipy.fft import dct
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from ssl_lightning.ranges import PositiveInt

FLOOR = 1e-10
"""Of the power whose logarithm is taken: -100 dB, which digital silence gets."""


class LogMel(nn.Module):
    """Power in Slaney's mel bands, in decibels: (B, S) -> (B, mels, T), T = 1 + S // hop.

    Frame t is centered at sample t * hop, with silence before the beginning and behind the end. So the first
    `frames(length)` frames of a clip padded with zeros are those of the clip alone.
    """

    def __init__(
        self, sample_rate: PositiveInt, n_fft: PositiveInt = 256, hop: PositiveInt = 80, mels: PositiveInt = 40
    ) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        bank = mel_filter_bank(n_fft // 2 + 1, mels, 0.0, sample_rate / 2, sample_rate, "slaney", "slaney")
        self.window = nn.Buffer(torch.hann_window(n_fft), persistent=False)
        self.filters = nn.Buffer(torch.from_numpy(bank.T.copy()).float(), persistent=False)  # (mels, bins)

    def forward(self, waveform: Tensor) -> Tensor:
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.to(self.window.dtype)
            spectrum = torch.stft(
                waveform, self.n_fft, self.hop, window=self.window, pad_mode="constant", return_complex=True
            )
            return self.scaled(10 * (self.filters @ spectrum.abs().square()).clamp(min=FLOOR).log10())

    def scaled(self, decibels: Tensor) -> Tensor:
        """What is returned of the mel bands (B, mels, T)."""
        return decibels

    def frames(self, length: Any) -> Any:
        """T of `length` samples; an int or a tensor."""
        return 1 + length // self.hop


class MFCC(LogMel):
    """The first cosine coefficients (DCT-II, orthonormal) of the log-mel bands: (B, S) -> (B, coefficients, T).

    Davis and Mermelstein 1980, https://doi.org/10.1109/TASSP.1980.1163420
    """

    def __init__(
        self,
        sample_rate: PositiveInt,
        n_fft: PositiveInt = 256,
        hop: PositiveInt = 80,
        mels: PositiveInt = 40,
        coefficients: PositiveInt = 13,
    ) -> None:
        super().__init__(sample_rate, n_fft, hop, mels)
        cosines = dct(torch.eye(mels).double().numpy(), axis=0, norm="ortho")[:coefficients]
        self.cosines = nn.Buffer(torch.from_numpy(cosines).float(), persistent=False)

    def scaled(self, decibels: Tensor) -> Tensor:
        return self.cosines @ decibels
