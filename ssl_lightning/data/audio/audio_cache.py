"""Files of sound decoded once into a memory-mapped ragged array that later runs open at once."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssl_lightning.data.decoded import decode_files
from ssl_lightning.errors import told

VERSION = 3  # raise it when the same file gives other samples, so that old caches are not used
BLOCK = 2**18  # samples of a channel that are decoded and resampled at a time
FULL_SCALE = 2**15
"""The int16 sample of 1."""
STREAMED = 2**32 - 2**20
"""Writers that do not know how long a .wav becomes announce more bytes than this."""
RATES = range(1000, 1_000_001)
"""Samples a second of recordings; from other rates soxr may write where no array is."""


def libraries() -> tuple[Any, Any]:
    """soundfile and soxr; raises InputError where they are not installed."""
    with told("sound needs the packages soundfile and soxr: pip install 'ssl-lightning[audio]'"):
        import soundfile
        import soxr
    return soundfile, soxr


def decode_sound(
    folder: Path, files: list[str], sample_rate: int, cache: str | Path | None
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Samples (T,) int16, memory-mapped, their offsets, and why files could not be read: see `decode_files`."""

    def recording(row: int) -> np.ndarray:
        return np.concatenate([to_int16(block) for block in blocks(folder / files[row], sample_rate)])

    name, silence = f"audio-{sample_rate}-v{VERSION}", np.empty(0, np.int16)
    return decode_files(folder, files, cache, name, recording, len(files), silence, at_once=1)


def blocks(file: Path, sample_rate: int, limit: int | None = None) -> Iterator[np.ndarray]:
    """The recording of a file as float32 blocks (n,), the mean of its channels, at another rate.

    With a `limit`, the whole recording or a beginning that has at least so many samples.

    Raises what soundfile raises, and ValueError for numbers that are not finite and a file that is empty or ends too
    early.
    """
    soundfile, soxr = libraries()
    with soundfile.SoundFile(file) as stream:
        announced = re.search(r"^data : (\d+) \(should be (\d+)\)", stream.extra_info, re.MULTILINE)
        if announced and int(announced[2]) < int(announced[1]) < STREAMED:
            raise ValueError(f"truncated: {announced[2]} of {announced[1]} bytes")
        if stream.samplerate not in RATES:
            raise ValueError(f"{stream.samplerate} samples a second")
        if not stream.frames:
            raise ValueError("no samples")
        resampled = soxr.ResampleStream(stream.samplerate, sample_rate, 1, dtype="float32")
        wanted = stream.frames if limit is None else -(-limit * stream.samplerate // sample_rate) + BLOCK
        left = min(stream.frames, wanted)
        while left > 0:
            block = stream.read(min(BLOCK, left), dtype="float32", always_2d=True).mean(axis=1)
            left -= len(block)
            if not len(block):
                raise ValueError(f"truncated: {left} of {stream.frames} samples are missing")
            if not np.isfinite(block).all():
                raise ValueError("it holds numbers that are not finite")
            yield resampled.resample_chunk(block, last=not left) if stream.samplerate != sample_rate else block


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as int16; what is louder is clipped."""
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def to_float(samples: np.ndarray) -> np.ndarray:
    """int16 samples as float32 in [-1, 1)."""
    return np.divide(samples, FULL_SCALE, dtype=np.float32)
