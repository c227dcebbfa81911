"""Image files decoded once into a memory-mapped array that later runs open at once."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from joblib import Parallel, delayed
from PIL import UnidentifiedImageError

from ssl_lightning.data.cache import cached_dir, digest, file_status, progress_bar, reading
from ssl_lightning.data.image.decode import decode
from ssl_lightning.errors import InputError

VERSION = 1  # raise it when `decode` gives other pixels, so that old caches are not used
CHUNK = 64  # files a thread takes at a time

T = TypeVar("T")


@dataclass(frozen=True)
class DecodedFolder:
    """`images` (N, C, S, S) uint8 memory-mapped, one row a file; `corrupt`: row -> why it could not be read."""

    images: np.ndarray
    corrupt: dict[int, str]


def decode_folder(folder: Path, files: list[str], size: int, channels: int, cache: Path) -> DecodedFolder:
    """All `files` (paths relative to `folder`, in this order) as one array, from the cache if they are in it.

    The cache's key is made of the files' relative paths and bytes, of `size` and `channels`, so that a folder
    that was moved, copied or unpacked again finds its cache. The bytes are read again only if the place, or a path,
    length or time of change differs.

    Raises:
        InputError: the cache is damaged or cannot be written, or files change while they are decoded.
    """
    status = file_status(folder, files)
    index = cached_dir(cache / "index" / status, lambda note: _write_content(note, folder, files))
    with reading(index):
        content = json.loads((index / "content.json").read_text())
    path = cache / f"{size}x{size}x{channels}-v{VERSION}-{content}"
    cached_dir(path, lambda beside: _build(beside, folder, files, status, size, channels))
    with reading(path):
        report = json.loads((path / "corrupt.json").read_text())
        images = np.load(path / "images.npy", mmap_mode="r")
        return DecodedFolder(images, {int(row): reason for row, reason in report.items()})


def _write_content(note: Path, folder: Path, files: list[str]) -> None:
    """Digest of the files' paths and bytes."""
    digests = _in_threads("reading images", lambda row: _file_digest(folder / files[row]), len(files))
    (note / "content.json").write_text(json.dumps(digest(*map(os.fsencode, files), *digests)))


def _file_digest(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError:
        return b"unreadable"


def _build(beside: Path, folder: Path, files: list[str], status: str, size: int, channels: int) -> None:
    shape = (len(files), channels, size, size)
    needed, free = int(np.prod(shape)), shutil.disk_usage(beside).free
    if needed > free:
        raise InputError(
            f"the decoded images of {folder} need {needed / 2**30:.1f} GiB in {beside.parent}, which has "
            f"{free / 2**30:.1f} GiB free: set $SSL_CACHE to a larger disk or choose a smaller store_size"
        )
    images = np.lib.format.open_memmap(beside / "images.npy", mode="w+", dtype=np.uint8, shape=shape)

    def fill(row: int) -> str | None:
        """Why an image could not be read; None if it could."""
        try:
            images[row] = decode(str(folder / files[row]), size, channels)
        except UnidentifiedImageError:
            return "not an image"
        except Exception as error:  # on damaged files the decoders raise whatever they stumble over
            return str(error) or type(error).__name__
        return None

    reasons = enumerate(_in_threads("decoding images", fill, len(files)))
    corrupt = {row: reason for row, reason in reasons if reason is not None}
    images.flush()
    (beside / "corrupt.json").write_text(json.dumps(corrupt))
    if file_status(folder, files) != status:
        raise InputError(f"images of {folder} changed while they were decoded: start again when they are complete")


def _in_threads(title: str, work: Callable[[int], T], count: int) -> Iterator[T]:
    """`work` of each of `range(count)`, in order, under a progress bar.

    Threads, not processes: Pillow decodes and resamples outside the interpreter lock (60,000 JPEGs of 32x32 take 5 s
    on two cores), files are read and digested outside it too, and nothing has to be forked or pickled.
    """
    threads = Parallel(n_jobs=-1, prefer="threads", batch_size=CHUNK, return_as="generator")
    with progress_bar(title, count) as advance:
        for result in threads(delayed(work)(row) for row in range(count)):
            yield result
            advance(1)
