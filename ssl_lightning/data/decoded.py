"""Files decoded once into one memory-mapped array that later runs open at once."""

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from joblib import cpu_count

from ssl_lightning.data.cache import cache_folder, cached_ragged, file_status, progress_bar
from ssl_lightning.errors import InputError, InputWarning, first_line

NAMED = 10  # corrupt files named in a message, before "and N more"

T = TypeVar("T")
OnCorrupt = Literal["skip", "raise"]


def decode_files(
    folder: Path,
    files: list[str],
    cache: str | Path | None,
    name: str,
    decode: Callable[[int], np.ndarray],
    rows: int,
    unreadable: np.ndarray,
    at_once: int,
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """What is in `files` (paths relative to `folder`) as one ragged array in the cache, decoded if need be.

    Returns the values (T,), memory-mapped, offsets (N + 1,), where sample i, mostly a file, is
    `values[offsets[i] : offsets[i + 1]]`, and why samples could not be read, by row.

    The cache's key is made of `name`, the folder's place and the files' paths, lengths and times of change.

    Args:
        cache: folder; None: `$SSL_CACHE` or `~/.cache/ssl-lightning`.
        decode: gives the sample of a row, or raises why it cannot.
        rows: N.
        unreadable: what stands in the place of a sample that cannot be read, of the type of all.
        at_once: samples that a thread takes at a time.

    Raises:
        InputError: the cache is damaged or cannot be written, or files change while they are decoded.
    """
    status = file_status(folder, files)

    def part(row: int) -> tuple[int, np.ndarray, str]:
        try:
            return row, decode(row), ""
        except InputError:
            raise
        except Exception as error:  # on damaged files the decoders raise whatever they stumble over
            return row, unreadable, first_line(error) or type(error).__name__

    def parts() -> Iterator[tuple[int, np.ndarray, str]]:
        with progress_bar("decoding", rows) as advance:
            for decoded in in_threads(part, rows, at_once):
                yield decoded
                advance(1)
        if file_status(folder, files) != status:
            raise InputError(f"files of {folder} changed while they were decoded: start again when they are complete")

    return cached_ragged(cache_folder(cache) / f"{name}-{status}", unreadable.dtype, rows, parts)


def in_threads(work: Callable[[int], T], count: int, at_once: int) -> Iterator[T]:
    """`work` of each of `range(count)`, in order; memory holds the results of at most two tasks of each thread.

    Threads, not processes: the libraries decode and resample outside the interpreter lock (60,000 JPEGs of 32x32 take
    5 s on two cores), and nothing has to be forked or pickled.
    """
    pool, tasks = ThreadPoolExecutor(cpu_count()), deque[Future[list[T]]]()
    try:
        for start in range(0, count, at_once):
            rows = range(start, min(start + at_once, count))
            tasks.append(pool.submit(lambda rows: list(map(work, rows)), rows))
            if len(tasks) == 2 * cpu_count():
                yield from tasks.popleft().result()
        for task in tasks:
            yield from task.result()
    finally:
        pool.shutdown(cancel_futures=True)


def readable(folder: Path, files: list[str], corrupt: dict[int, str], on_corrupt: OnCorrupt) -> np.ndarray:
    """(N,) bool: which files could be read. Warns of the others, by name.

    Raises:
        InputError: some could not and `on_corrupt` is "raise", or none could.
    """
    good = ~np.isin(np.arange(len(files)), list(corrupt))
    if corrupt:
        named = [f"{folder / files[row]} ({reason})" for row, reason in list(corrupt.items())[:NAMED]]
        more = f" and {len(corrupt) - NAMED} more" if len(corrupt) > NAMED else ""
        line = f"{len(corrupt)} of {len(files)} files cannot be read: {', '.join(named)}{more}"
        if on_corrupt == "raise" or not good.any():
            raise InputError(line)
        warnings.warn(f"left out: {line}", InputWarning, stacklevel=3)
    return good
