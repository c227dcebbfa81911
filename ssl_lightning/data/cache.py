"""Where what is built once is kept for later runs, and how it gets there whole."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ssl_lightning.errors import told


def cache_folder(cache: str | Path | None = None) -> Path:
    """The folder that was asked for, or `$SSL_CACHE`, or `~/.cache/ssl-lightning`."""
    return Path(cache or os.environ.get("SSL_CACHE") or "~/.cache/ssl-lightning").expanduser()


def digest(*parts: str | bytes) -> str:
    """24 hexadecimal digits that tell any two sequences of parts apart."""
    made = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        made.update(len(data).to_bytes(8, "little"))
        made.update(data)
    return made.hexdigest()


def file_status(folder: Path, names: Iterable[str | Path]) -> str:
    """Digest of the folder's place and of each file's name, length and time of change.

    An edit that keeps both length and time is not seen.
    """
    parts = [os.fsencode(folder.resolve())]
    for name in names:
        try:
            status = os.stat(folder / name)
            seen = f"{status.st_size} {status.st_mtime_ns} {os.access(folder / name, os.R_OK)}"
        except OSError:  # such as a link that leads nowhere, which reading reports
            seen = "unreadable"
        parts += [os.fsencode(name), seen.encode()]
    return digest(*parts)


def cached_dir(path: Path, build: Callable[[Path], None]) -> Path:
    """The folder `path`, filled by `build(folder)` unless it exists.

    It is built in a folder next to it and renamed, so a killed run leaves no half-built cache; the next build removes
    what such a run left. Of several processes that want the same folder, one builds and the others wait.

    Raises:
        InputError: the cache cannot be written, or its disk is full.
    """
    from filelock import FileLock

    if path.exists():
        return path
    with told(f"the cache {path.parent} cannot be filled; set $SSL_CACHE to another folder", OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / f".{path.name}.lock"):
            if not path.exists():
                fill(path, build)
    return path


def fill(path: Path, build: Callable[[Path], None]) -> None:
    """Makes the folder `path` by `build(folder)`, whole or not at all; removes what a killed build of it left."""
    for left in path.parent.glob(f".{path.name}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        build(beside)
        beside.chmod(0o755)
        beside.rename(path)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(beside)


def reading(path: Path) -> AbstractContextManager[None]:
    """Turns what a damaged cache raises while it is read into an `InputError` that says what to do."""
    return told(f"the cache {path} is damaged: remove it, and it is built again")


def cached_ragged(
    path: Path, dtype: DTypeLike, rows: int, parts: Callable[[], Iterable[tuple[int, np.ndarray, str]]]
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Rows of any length as one array (T,), memory-mapped, their offsets (rows + 1,), and notes on some of them.

    Row i is `values[offsets[i] : offsets[i + 1]]`. All is kept in the folder `path`, and made only if that is missing.

    Args:
        parts: gives the number of a row, values (n,) of it, which are written at once, and a note, or "". Rows come in
            order; one may have several parts, or none.

    Raises:
        InputError: the cache is damaged or cannot be written.
    """

    def build(folder: Path) -> None:
        sizes, notes = np.zeros(rows, np.int64), {}
        with (folder / "values.bin").open("wb") as stream:
            for row, values, note in parts():
                stream.write(np.ascontiguousarray(values, dtype).data)
                sizes[row] += values.size
                if note:
                    notes[row] = note
        np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(sizes)]))
        (folder / "notes.json").write_text(json.dumps(notes))

    cached_dir(path, build)
    with reading(path):
        offsets, notes = np.load(path / "offsets.npy"), json.loads((path / "notes.json").read_text())
        file, total = path / "values.bin", int(offsets[rows])
        values = np.asarray(np.memmap(file, dtype, "r", shape=total)) if total else np.empty(0, dtype)
        return values, offsets, {int(row): note for row, note in notes.items()}


@contextmanager
def progress_bar(title: str, total: int | None, count_bytes: bool = False) -> Iterator[Callable[[int], None]]:
    """Gives `advance(count)`, counting samples or bytes up to `total` (None: not known).

    The bar is written to stderr, so that what a command prints on stdout stays its own.
    """
    counted: list[ProgressColumn] = [MofNCompleteColumn(), TimeRemainingColumn()]
    if count_bytes:
        counted = [DownloadColumn(), TransferSpeedColumn()]
    with Progress(TextColumn(title), BarColumn(), *counted, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        yield partial(progress.advance, task)
