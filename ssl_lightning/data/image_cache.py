"""Image files decoded once into a memory-mapped array that later runs open at once."""

import hashlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssl_lightning.data.decode import decode
from ssl_lightning.errors import InputError

VERSION = 1  # raise it when `decode` gives other pixels, so that old caches are not taken for new ones
CHUNK = 64


@dataclass(frozen=True)
class DecodedFolder:
    """``images`` (N, C, S, S) uint8 memory-mapped, one row a file; ``corrupt``: row -> why it could not be read."""

    images: np.ndarray
    corrupt: dict[int, str]


def default_cache() -> Path:
    """``$SSL_CACHE``, or ``~/.cache/ssl-lightning``."""
    return Path(os.environ.get("SSL_CACHE") or "~/.cache/ssl-lightning").expanduser()


def decoded(folder: Path, files: list[str], size: int, channels: int, cache: Path) -> DecodedFolder:
    """All ``files`` (paths relative to ``folder``) as one array, from the cache if none of them has changed.

    The cache's key is made of the folder's place and each file's path, length and time of change, and of ``size`` and
    ``channels``. It is written beside and renamed, so a killed run leaves nothing half made and several processes may
    build the same one: the first to finish is kept.
    """
    home = cache / _key(folder, files, size, channels)
    if not home.exists():
        _build(home, folder, files, size, channels)
    try:
        report = json.loads((home / "corrupt.json").read_text())
        images = np.load(home / "images.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"the cache {home} is damaged ({error}): remove it, and it is made anew") from error
    return DecodedFolder(images, {int(row): reason for row, reason in report.items()})


def _key(folder: Path, files: list[str], size: int, channels: int) -> str:
    digest = hashlib.blake2b(f"{VERSION} {folder.resolve()} {size} {channels}".encode(), digest_size=12)
    for name in files:
        status = os.stat(folder / name)
        digest.update(f"\0{name}\0{status.st_size}\0{status.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return f"{folder.name}-{size}x{size}x{channels}-{digest.hexdigest()}"


def _build(home: Path, folder: Path, files: list[str], size: int, channels: int) -> None:
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
        beside.chmod(0o755)
        try:
            beside.rename(home)
        except OSError:
            if not home.exists():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _decode_all(images: np.ndarray, folder: Path, files: list[str], size: int, channels: int) -> dict[int, str]:
    """Fills ``images``; returns the rows that could not be read.

    Threads, not processes: Pillow decodes and resamples outside the interpreter lock (60,000 JPEGs of 32x32 take 5 s
    on two cores), and nothing has to be forked or pickled.
    """

    def fill(start: int) -> tuple[int, dict[int, str]]:
        rows = range(start, min(start + CHUNK, len(files)))
        corrupt = {}
        for row in rows:
            try:
                images[row] = decode(str(folder / files[row]), size, channels)
            except UnidentifiedImageError:
                corrupt[row] = "not an image"
            except Exception as error:  # on damaged files the decoders raise whatever they stumble over
                corrupt[row] = str(error) or type(error).__name__
        return len(rows), corrupt

    columns = (
        TextColumn("decoding images"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    corrupt: dict[int, str] = {}
    workers = min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with Progress(*columns, console=Console(stderr=True)) as progress, ThreadPoolExecutor(workers) as pool:
        task = progress.add_task("", total=len(files), rate="")
        try:
            for count, bad in pool.map(fill, range(0, len(files), CHUNK)):
                corrupt |= bad
                progress.update(task, advance=count)
                speed = progress.tasks[0].speed
                progress.update(task, rate=f"{speed:,.0f}/s" if speed else "")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return corrupt
