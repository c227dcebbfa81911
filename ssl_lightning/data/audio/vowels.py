"""Sound that is always there: synthetic vowels of synthetic speakers, by a source and a filter (Fant 1960).

No one has spoken them. Pulses of a gliding pitch, the source, pass three resonances, the formants, the slope of the
glottis and the lips' radiation. Pitch and formants are spread around the means of Peterson and Barney 1952, "Control
Methods Used in a Study of the Vowels", https://doi.org/10.1121/1.1906875, Table II.
"""

import numpy as np

from ssl_lightning.data.audio.audio_cache import to_int16
from ssl_lightning.data.audio.dataset import AudioDataset
from ssl_lightning.data.sampler import mix
from ssl_lightning.data.splits import require_split
from ssl_lightning.ranges import PositiveInt

TABLE = """
heed   136 270 2290 3010   235 310 2790 3310   272  370 3200 3730
hid    135 390 1990 2550   232 430 2480 3070   269  530 2730 3600
head   130 530 1840 2480   223 610 2330 2990   260  690 2610 3570
had    127 660 1720 2410   210 860 2050 2850   251 1010 2320 3320
hod    124 730 1090 2440   212 850 1220 2810   256 1030 1370 3170
hawed  129 570  840 2410   216 590  920 2710   263  680 1060 3180
hood   137 440 1020 2240   232 470 1160 2680   276  560 1410 3310
who'd  141 300  870 2240   231 370  950 2670   274  430 1170 3260
hud    130 640 1190 2390   221 760 1400 2780   261  850 1590 3360
heard  133 490 1350 1690   218 500 1640 1960   261  560 1820 2160
"""
"""A vowel by its word, then pitch and three formants in Hz, of men, women and children."""
CLASSES = [line.split()[0] for line in TABLE.strip().splitlines()]
MEANS = np.array([line.split()[1:] for line in TABLE.strip().splitlines()], float).reshape(10, 3, 4)
SPREAD = np.array([0.12, 0.06, 0.06, 0.06])
"""Standard deviation of the logarithms of pitch and formants between speakers; the formants of one go together."""
OWN_SPREAD = np.array([0.06, 0.04, 0.04, 0.04])
"""The same between the utterances of one speaker."""
BANDWIDTHS = np.array([50.0, 70.0, 110.0])
"""Of the formants in Hz, as Klatt 1980, https://doi.org/10.1121/1.383940, Table I."""
FADE = 0.02  # seconds, at both ends


def vowels(
    root: str = "",
    split: str = "pretrain",
    length: PositiveInt = 4000,
    sample_rate: PositiveInt = 8000,
    speakers: PositiveInt = 40,
    utterances: PositiveInt = 5,
) -> AudioDataset:
    """Split "pretrain" and "train" (the same) or "test", which has a quarter as many speakers, and others; ten classes.

    Each speaker, a man, a woman or a child, says each vowel `utterances` times, in 0.6 to 1 of `length` samples.
    `groups` are the speakers. `root` is not used: nothing is read from the data folder.
    """
    require_split(split, "vowels")
    rng = np.random.default_rng(mix("vowels", "test" if split == "test" else "train"))
    count = max(1, speakers // 4) if split == "test" else speakers
    labels = np.tile(np.repeat(np.arange(10), utterances), count)
    said = [speak(labels[: 10 * utterances], length, sample_rate, rng) for _ in range(count)]
    sizes = np.concatenate([size for _, size in said])
    samples = np.concatenate([clips[np.arange(length) < size[:, None]] for clips, size in said])
    offsets, groups = np.cumsum([0, *sizes]), np.repeat(np.arange(count), 10 * utterances)
    return AudioDataset(to_int16(samples), offsets, length, labels=labels, classes=CLASSES, groups=groups)


def speak(labels: np.ndarray, length: int, sample_rate: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Clips (B, length) in [-1, 1] of vowels (B,) by a new speaker, and their number of samples (B,)."""
    own = SPREAD * rng.normal(size=2)[[0, 1, 1, 1]] + OWN_SPREAD * rng.normal(size=(len(labels), 4))
    pitch, *formants = (MEANS[labels, rng.integers(3)] * np.exp(own)).T[:, :, None]
    size = np.ceil(length * rng.uniform(0.6, 1.0, len(labels))).astype(np.int64)
    place = np.arange(length) / size[:, None]  # 0 to 1
    glide = rng.uniform(-0.2, 0.2, (len(labels), 1))
    source = pulses(pitch * (1 + glide * (place - 0.5)) / sample_rate)
    f = np.fft.rfftfreq(2 * length, 1 / sample_rate)
    # the lips, and a glottis of 12 dB an octave
    filtered = np.fft.rfft(source, 2 * length) * f / (1 + 1j * f / 100) ** 2
    for formant, bandwidth in zip(formants, BANDWIDTHS, strict=True):
        filtered *= formant**2 / (formant**2 - f**2 + 1j * bandwidth * f)
    voice = np.fft.irfft(filtered)[:, :length]
    edge = np.minimum(place, 1 - place) * size[:, None] / (FADE * sample_rate)
    voice *= np.sin(np.pi / 2 * edge.clip(0, 1)) ** 2
    voice /= np.abs(voice).max(axis=1, keepdims=True)
    noise = rng.normal(size=voice.shape) * 10 ** -rng.uniform(1.5, 2.5, (len(labels), 1))  # 30 to 50 dB below the peak
    return ((voice + noise) * rng.uniform(0.2, 0.7, (len(labels), 1))).clip(-1, 1), size


def pulses(turns: np.ndarray) -> np.ndarray:
    """From the turns (B, S) of a phase in each sample, a pulse of area 1 whenever one is full, between two samples."""
    phase = np.cumsum(turns, axis=1)
    full = np.diff(np.floor(phase), axis=1, prepend=0) > 0
    late = full * (phase % 1) / turns  # samples that the pulse came before this one
    return full - late + np.pad(late[:, 1:], ((0, 0), (0, 1)))
