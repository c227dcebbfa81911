"""Image files decoded once into a memory-mapped array that later runs open at once."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import UnidentifiedImageError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssl_lightning.data.image.decode import decode
from ssl_lightning.errors import InputError

VERSION = 1  # raise it when `decode` gives other pixels, so that old caches are not taken for new ones
CHUNK = 64  # files a thread takes at a time
DIGEST = 16  # bytes of a file's digest


T = TypeVar("T")


@dataclass(frozen=True)
class DecodedFolder:
    """``images`` (N, C, S, S) uint8 memory-mapped, one row a file; ``corrupt``: row -> why it could not be read."""

    images: np.ndarray
    corrupt: dict[int, str]


def decoded(folder: Path, files: list[str], size: int, channels: int, cache: Path) -> DecodedFolder:
    """All ``files`` (paths relative to ``folder``, in this order) as one array, from the cache if they are in it.

    The cache's key is made of the files' relative paths and bytes, and of ``size`` and ``channels``, so that a folder
    that was moved, copied or unpacked again finds its cache. The bytes are not read again while the place, paths,
    lengths and times of change are those of last time: an edit that keeps both length and time is not seen.

    A cache is written beside and renamed, so a killed run leaves nothing half made and several processes may build the
    same one: the first to finish is kept. Raises InputError if the cache is damaged or cannot be written, or if files
    change while they are decoded.
    """
    status = _status(folder, files)
    home = cache / f"{size}x{size}x{channels}-v{VERSION}-{_content(folder, files, status, cache)}"
    if not home.exists():
        _build(home, folder, files, status, size, channels)
    try:
        report = json.loads((home / "corrupt.json").read_text())
        images = np.load(home / "images.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"the cache {home} is damaged ({error}): remove it, and it is made anew") from error
    return DecodedFolder(images, {int(row): reason for row, reason in report.items()})


def _status(folder: Path, files: list[str]) -> str:
    """Digest of the folder's place and each file's path, length and time of change."""
    digest = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=16)
    for name in files:
        try:
            status = os.stat(folder / name)
            seen = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # such as a link that leads nowhere, which decoding reports
            seen = "unreadable"
        digest.update(b"\0" + os.fsencode(name) + b"\0" + seen.encode())
    return digest.hexdigest()


def _content(folder: Path, files: list[str], status: str, cache: Path) -> str:
    """Digest of the files' paths and bytes; ``cache/index`` holds it, one file a place, with its last status."""
    place = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=12).hexdigest()
    note = cache / "index" / place
    with contextlib.suppress(OSError, ValueError):
        known, content = note.read_text().split()
        if known == status:
            return content

    def read(rows: range) -> list[bytes | None]:
        return [_file_digest(folder / files[row]) for row in rows]

    digests = [one for some in _in_threads("reading images", read, len(files)) for one in some]
    digest = hashlib.blake2b(digest_size=12)
    for name, one in zip(files, digests, strict=True):
        digest.update(os.fsencode(name) + b"\0" + (one or bytes(DIGEST)))
    content = digest.hexdigest()
    if None not in digests:  # a right to read that is granted later changes neither length nor time
        _remember(note, f"{status} {content}\n")
    return content


def _file_digest(file: Path) -> bytes | None:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=DIGEST)).digest()
    except OSError:
        return None


def _remember(note: Path, line: str) -> None:
    with contextlib.suppress(OSError):  # a cache that may only be read still serves, the files are read each time
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=".", dir=note.parent)
        try:
            with open(handle, "w") as stream:
                stream.write(line)
            os.chmod(beside, 0o644)
            os.replace(beside, note)
        finally:
            Path(beside).unlink(missing_ok=True)


def _build(home: Path, folder: Path, files: list[str], status: str, size: int, channels: int) -> None:
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
    except OSError as error:
        raise InputError(f"the cache folder {home.parent} cannot be written ({error.strerror})") from error
    try:
        shape = (len(files), channels, size, size)
        needed, free = int(np.prod(shape)), shutil.disk_usage(beside).free
        if needed > free:
            raise InputError(
                f"the decoded images of {folder} need {needed / 2**30:.1f} GiB in {home.parent}, which has "
                f"{free / 2**30:.1f} GiB free: set $SSL_CACHE to a larger disk or choose a smaller store_size"
            )
        images = np.lib.format.open_memmap(beside / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
        corrupt = _decode_all(images, folder, files, size, channels)
        images.flush()
        (beside / "corrupt.json").write_text(json.dumps(corrupt))
        if _status(folder, files) != status:
            raise InputError(f"images of {folder} changed while they were decoded: start again when they are complete")
        beside.chmod(0o755)
        try:
            beside.rename(home)
        except OSError:
            if not home.exists():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _decode_all(images: np.ndarray, folder: Path, files: list[str], size: int, channels: int) -> dict[int, str]:
    """Fills ``images``; returns the rows that could not be read."""

    def fill(rows: range) -> dict[int, str]:
        corrupt = {}
        for row in rows:
            try:
                images[row] = decode(str(folder / files[row]), size, channels)
            except UnidentifiedImageError:
                corrupt[row] = "not an image"
            except Exception as error:  # on damaged files the decoders raise whatever they stumble over
                corrupt[row] = str(error) or type(error).__name__
        return corrupt

    corrupt: dict[int, str] = {}
    for bad in _in_threads("decoding images", fill, len(files)):
        corrupt |= bad
    return corrupt


def _in_threads(title: str, work: Callable[[range], T], count: int) -> Iterator[T]:
    """``work`` of each ``CHUNK`` of ``range(count)``, in order, under a progress bar.

    Threads, not processes: Pillow decodes and resamples outside the interpreter lock (60,000 JPEGs of 32x32 take 5 s
    on two cores), files are read and digested outside it too, and nothing has to be forked or pickled.
    """
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    workers = min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with Progress(*columns, console=Console(stderr=True)) as progress, ThreadPoolExecutor(workers) as pool:
        task = progress.add_task("", total=count, rate="")
        try:
            for rows, result in zip(chunks, pool.map(work, chunks), strict=True):
                yield result
                progress.update(task, advance=len(rows))
                speed = progress.tasks[0].speed
                progress.update(task, rate=f"{speed:,.0f}/s" if speed else "")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
