"""Where what is made once is kept for later runs, and how it gets there whole."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ssl_lightning.errors import InputError


def default_cache() -> Path:
    """``$SSL_CACHE``, or ``~/.cache/ssl-lightning``."""
    return Path(os.environ.get("SSL_CACHE") or "~/.cache/ssl-lightning").expanduser()


def cache_folder(cache: str | Path | None) -> Path:
    """The folder that was asked for, or the default one."""
    return Path(cache).expanduser() if cache else default_cache()


def digest(*parts: str | bytes) -> str:
    """24 hexadecimal digits that tell any two sequences of parts apart."""
    made = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        made.update(len(data).to_bytes(8, "little"))
        made.update(data)
    return made.hexdigest()


def made_once(home: Path, build: Callable[[Path], None]) -> Path:
    """The folder ``home``, filled by ``build(folder)`` unless it is there already.

    It is written beside and renamed, so a killed run leaves nothing half made; what such a run left beside is removed.
    Of several processes that want it at once, one builds and the others wait for it.

    Raises InputError if the cache cannot be written or its disk is full.
    """
    from filelock import FileLock

    if home.exists():
        return home
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(home.parent / f".{home.name}.lock"):
            if not home.exists():
                _fill(home, build)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise InputError(f"the disk of {home.parent} is full: set $SSL_CACHE to a larger one") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise InputError(f"the cache folder {home.parent} cannot be written ({error.strerror})") from error
        raise
    return home


def _fill(home: Path, build: Callable[[Path], None]) -> None:
    for left in home.parent.glob(f".{home.name}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
    try:
        build(beside)
        beside.chmod(0o755)
        beside.rename(home)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(beside)


@contextmanager
def byte_bar(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Gives ``advance(bytes)``; on stderr, so that what a command prints stays its own. ``total`` None: not known."""
    columns = (TextColumn(title), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.update(task, advance=count)
