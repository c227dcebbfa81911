"""Files decoded once into memory-mapped arrays that later runs open at once."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from joblib import Parallel, delayed

from ssl_lightning.data.cache import cached_dir, digest, file_status, progress_bar, reading
from ssl_lightning.errors import InputError, InputWarning

CHUNK = 64  # files a thread takes at a time
NAMED = 10  # corrupt files named in a message, before "and N more"

T = TypeVar("T")


def decoded_once(
    folder: Path, files: list[str], cache: Path, name: str, build: Callable[[Path], Iterable[str | None]]
) -> tuple[Path, dict[int, str]]:
    """The folder of `cache` that holds `files` (paths relative to `folder`) decoded, and row -> why one could not be.

    `build(beside)` fills it where it is not there, and tells of each file why it cannot be read, or None. The cache's
    key is made of `name` and the files' relative paths and bytes, so that a folder that was moved, copied or unpacked
    again finds its cache. The bytes are read again only if the place, or a path, length or time of change differs.

    Raises:
        InputError: the cache is damaged or cannot be written, or files change while they are decoded.
    """
    status = file_status(folder, files)
    index = cached_dir(cache / "index" / status, lambda note: _write_content(note, folder, files))
    with reading(index):
        content = json.loads((index / "content.json").read_text())
    path = cache / f"{name}-{content}"

    def build_all(beside: Path) -> None:
        corrupt = {row: reason for row, reason in enumerate(build(beside)) if reason is not None}
        (beside / "corrupt.json").write_text(json.dumps(corrupt))
        if file_status(folder, files) != status:
            raise InputError(f"files of {folder} changed while they were decoded: start again when they are complete")

    cached_dir(path, build_all)
    with reading(path):
        report = json.loads((path / "corrupt.json").read_text())
        return path, {int(row): reason for row, reason in report.items()}


def _write_content(note: Path, folder: Path, files: list[str]) -> None:
    """Digest of the files' paths and bytes."""
    digests = in_threads("reading files", lambda row: _file_digest(folder / files[row]), len(files))
    (note / "content.json").write_text(json.dumps(digest(*map(os.fsencode, files), *digests)))


def _file_digest(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError:
        return b"unreadable"


def refuse_full_disk(beside: Path, needed: int, folder: Path, remedy: str) -> None:
    """Raises InputError where the decoded files of `folder` need more bytes than the disk of the cache has free."""
    free = shutil.disk_usage(beside).free
    if needed > free:
        raise InputError(
            f"the decoded files of {folder} need {needed / 2**30:.1f} GiB in {beside.parent}, which has "
            f"{free / 2**30:.1f} GiB free: set $SSL_CACHE to a larger disk or {remedy}"
        )


def in_threads(title: str, work: Callable[[int], T], count: int) -> Iterator[T]:
    """`work` of each of `range(count)`, in order, under a progress bar.

    Threads, not processes: the libraries decode and resample outside the interpreter lock (60,000 JPEGs of 32x32 take
    5 s on two cores), files are read and digested outside it too, and nothing has to be forked or pickled.
    """
    threads = Parallel(n_jobs=-1, prefer="threads", batch_size=CHUNK, return_as="generator")
    with progress_bar(title, count) as advance:
        for result in threads(delayed(work)(row) for row in range(count)):
            yield result
            advance(1)


def report_corrupt(
    corrupt: Mapping[int, str], place: Path, files: list[str], on_corrupt: Literal["skip", "raise"], kind: str
) -> None:
    """Warns of the files that are left out, by name; raises InputError where asked to, or where none is left."""
    if not corrupt:
        return
    named = [f"{place / files[row]} ({reason})" for row, reason in list(corrupt.items())[:NAMED]]
    more = f" and {len(corrupt) - NAMED} more" if len(corrupt) > NAMED else ""
    line = f"{len(corrupt)} of {len(files)} {kind} files cannot be read: {', '.join(named)}{more}"
    if on_corrupt == "raise" or len(corrupt) == len(files):
        raise InputError(line)
    warnings.warn(f"left out: {line}", InputWarning, stacklevel=3)
