"""Files of sound decoded once into a memory-mapped ragged array that later runs open at once."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssl_lightning.data.cache import reading
from ssl_lightning.data.decoded import decoded_once, in_threads, refuse_full_disk
from ssl_lightning.errors import InputError, first_line

VERSION = 1  # raise it when the same file gives other samples, so that old caches are not used
BLOCK = 2**18  # samples of a channel that are decoded and resampled at a time
FULL_SCALE = 2**15
"""The int16 sample of 1."""
STREAMED = 2**32 - 2**20
"""Writers that do not know how long a .wav becomes announce more bytes than this."""


def libraries() -> tuple[Any, Any]:
    """soundfile and soxr; raises InputError where they are not installed."""
    try:
        import soundfile
        import soxr
    except (ImportError, OSError) as error:  # an OSError where the C library is missing
        raise InputError("sound needs the packages soundfile and soxr: pip install 'ssl-lightning[audio]'") from error
    return soundfile, soxr


def decode_folder(
    folder: Path, files: list[str], sample_rate: int, cache: Path
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """All `files` (paths relative to `folder`, in this order) as one ragged array, see `decoded_once`.

    Returns samples (T,) int16, memory-mapped, offsets (N + 1,), where the recording of file i is
    `samples[offsets[i] : offsets[i + 1]]`, and why files could not be read, by row.

    Raises:
        InputError: the cache is damaged or cannot be written, or files change while they are decoded.
    """
    name = f"audio-{sample_rate}-v{VERSION}"
    path, corrupt = decoded_once(folder, files, cache, name, lambda beside: _build(beside, folder, files, sample_rate))
    with reading(path):
        return np.load(path / "samples.npy", mmap_mode="r"), np.load(path / "offsets.npy"), corrupt


def _build(beside: Path, folder: Path, files: list[str], sample_rate: int) -> Iterator[str | None]:
    libraries()
    sizes = list(in_threads("measuring sound", lambda row: _size(folder / files[row], sample_rate), len(files)))
    offsets = np.cumsum([0, *(0 if isinstance(size, str) else size for size in sizes)])
    np.save(beside / "offsets.npy", offsets)
    refuse_full_disk(beside, 2 * int(offsets[-1]), folder, "choose a lower sample_rate")
    samples = np.lib.format.open_memmap(
        beside / "samples.npy", mode="w+", dtype=np.int16, shape=(int(max(1, offsets[-1])),)
    )

    def fill(row: int) -> str | None:
        """Why a file could not be read; None if it could."""
        size = sizes[row]
        if isinstance(size, str):
            return size
        try:
            place = int(offsets[row])
            for block in blocks(folder / files[row], sample_rate):
                block = block[: offsets[row + 1] - place]
                samples[place : place + len(block)] = to_int16(block)
                place += len(block)
        except Exception as error:  # on damaged files the decoders raise whatever they stumble over
            return first_line(error) or type(error).__name__
        return None

    yield from in_threads("decoding sound", fill, len(files))
    samples.flush()


def _size(file: Path, sample_rate: int) -> int | str:
    """Samples of a file at another rate, rounded up; or why it cannot be read."""
    soundfile, _ = libraries()
    try:
        with soundfile.SoundFile(file) as stream:
            announced = re.search(r"^data : (\d+) \(should be (\d+)\)", stream.extra_info, re.MULTILINE)
            if announced and int(announced[2]) < int(announced[1]) < STREAMED:
                return f"truncated: {announced[2]} of {announced[1]} bytes"
            return -(-stream.frames * sample_rate // stream.samplerate) or "no samples"
    except Exception as error:
        return first_line(error) or type(error).__name__


def blocks(file: Path, sample_rate: int, limit: int | None = None) -> Iterator[np.ndarray]:
    """The recording of a file as float32 blocks (n,), the mean of its channels, at another rate.

    With a `limit`, the whole recording or a beginning that has at least so many samples.

    Raises what soundfile raises, and ValueError for numbers that are not finite and a file that ends too early.
    """
    soundfile, soxr = libraries()
    with soundfile.SoundFile(file) as stream:
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
