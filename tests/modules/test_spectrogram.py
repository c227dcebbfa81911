import librosa
import numpy as np
import pytest
import torch

from ssl_lightning.modules.spectrogram import MFCC, LogMel

SETTINGS = [(8000, 256, 80, 40), (16000, 400, 160, 64), (22050, 512, 200, 20)]


def clip(rate: int, samples: int = 4001) -> np.ndarray:
    """A tone that rises, in noise."""
    t = np.arange(samples) / rate
    noise = np.random.default_rng(0).normal(size=samples)
    return (0.5 * np.sin(2 * np.pi * (200 + 900 * t) * t) + 0.01 * noise).astype(np.float32)


@pytest.mark.parametrize("setting", SETTINGS)
def test_they_are_those_of_librosa(setting: tuple[int, ...]) -> None:
    rate, n_fft, hop, mels = setting
    wave = clip(rate)
    options = {"sr": rate, "n_fft": n_fft, "hop_length": hop, "n_mels": mels, "pad_mode": "constant"}
    power = librosa.feature.melspectrogram(y=wave, **options)
    theirs = librosa.power_to_db(power, top_db=None)
    waveform = torch.from_numpy(wave)[None]
    np.testing.assert_allclose(LogMel(*setting)(waveform)[0], theirs, atol=2e-3)
    mfcc = MFCC(*setting, coefficients=13)(waveform)[0]
    np.testing.assert_allclose(mfcc, librosa.feature.mfcc(S=theirs, n_mfcc=13), atol=5e-3)


@pytest.mark.parametrize("kind", [LogMel, MFCC])
def test_the_frames_of_a_padded_clip_are_its_own(kind: type[LogMel]) -> None:
    front = kind(8000)
    waveform = torch.from_numpy(clip(8000, 1234))[None]
    alone, padded = front(waveform), front(torch.nn.functional.pad(waveform, (0, 777)))
    assert alone.shape[2] == front.frames(1234) == front.frames(torch.tensor([1234]))
    torch.testing.assert_close(padded[:, :, : alone.shape[2]], alone)


def test_silence_and_single_samples_are_finite() -> None:
    assert LogMel(8000)(torch.zeros(2, 1)).eq(-100).all()
    assert MFCC(8000)(torch.ones(2, 1)).isfinite().all()


def test_half_precision_does_not_reach_them() -> None:
    waveform = torch.from_numpy(clip(8000))[None]
    with torch.autocast("cpu", torch.bfloat16):
        inside = MFCC(8000)(waveform)
    assert inside.equal(MFCC(8000)(waveform))
