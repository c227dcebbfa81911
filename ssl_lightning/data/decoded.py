"""Files decoded once into one memory-mapped array that later runs open at once."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from joblib import Parallel, delayed

from ssl_lightning.data.cache import cache_folder, cached_dir, file_status, progress_bar
from ssl_lightning.errors import InputError, InputWarning, first_line, told

CHUNK = 64  # files a thread takes at a time
NAMED = 10  # corrupt files named in a message, before "and N more"

T = TypeVar("T")
OnCorrupt = Literal["skip", "raise"]


def decode_files(
    folder: Path,
    files: list[str],
    cache: str | Path | None,
    name: str,
    dtype: type[np.generic],
    measure: Callable[[], Sequence[int]],
    decode: Callable[[int, np.ndarray], None],
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """What is in `files` (paths relative to `folder`) as one ragged array in the cache, decoded if need be.

    Returns the values (T,) of `dtype`, memory-mapped, offsets (N + 1,), where sample i, mostly a file, is
    `values[offsets[i] : offsets[i + 1]]`, and why samples could not be read, by row.

    The cache's key is made of `name`, the folder's place and the files' paths, lengths and times of change.

    Args:
        cache: folder; None: `$SSL_CACHE` or `~/.cache/ssl-lightning`.
        measure: tells how many values each sample has, 0 for one that cannot be read.
        decode: writes the sample of a row to its values (n,), or raises why it cannot.

    Raises:
        InputError: the cache is damaged or cannot be written, or files change while they are decoded.
    """
    status = file_status(folder, files)

    def build(beside: Path) -> None:
        offsets = np.cumsum([0, *measure()])
        _refuse_full_disk(beside, int(offsets[-1]) * np.dtype(dtype).itemsize, folder)
        shape = (max(1, int(offsets[-1])),)
        values = np.lib.format.open_memmap(beside / "values.npy", mode="w+", dtype=dtype, shape=shape)

        def fill(row: int) -> str | None:
            """Why a sample could not be read; None if it could."""
            try:
                decode(row, values[offsets[row] : offsets[row + 1]])
            except Exception as error:  # on damaged files the decoders raise whatever they stumble over
                return first_line(error) or type(error).__name__
            return None

        reasons = enumerate(in_threads("decoding", fill, len(offsets) - 1))
        corrupt = {row: reason for row, reason in reasons if reason is not None}
        values.flush()
        np.save(beside / "offsets.npy", offsets)
        (beside / "corrupt.json").write_text(json.dumps(corrupt))
        if file_status(folder, files) != status:
            raise InputError(f"files of {folder} changed while they were decoded: start again when they are complete")

    path = cached_dir(cache_folder(cache) / f"{name}-{status}", build)
    with told(f"the cache {path} is damaged: remove it, and it is built again"):
        values, offsets = np.load(path / "values.npy", mmap_mode="r"), np.load(path / "offsets.npy")
        corrupt = {int(row): reason for row, reason in json.loads((path / "corrupt.json").read_text()).items()}
        return values, offsets, corrupt


def _refuse_full_disk(beside: Path, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(beside).free
    if needed > free:
        raise InputError(
            f"the decoded files of {folder} need {needed / 2**30:.1f} GiB in {beside.parent}, which has "
            f"{free / 2**30:.1f} GiB free: set $SSL_CACHE to a larger disk, or lower the size or rate to decode to"
        )


def in_threads(title: str, work: Callable[[int], T], count: int) -> Iterator[T]:
    """`work` of each of `range(count)`, in order, under a progress bar.

    Threads, not processes: the libraries decode and resample outside the interpreter lock (60,000 JPEGs of 32x32 take
    5 s on two cores), and nothing has to be forked or pickled.
    """
    threads = Parallel(n_jobs=-1, prefer="threads", batch_size=CHUNK, return_as="generator")
    with progress_bar(title, count) as advance:
        for result in threads(delayed(work)(row) for row in range(count)):
            yield result
            advance(1)


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
