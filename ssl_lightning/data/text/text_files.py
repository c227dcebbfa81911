"""Any text files as a corpus: one, many, or folders of them, of any size."""

import contextlib
import glob
import hashlib
import json
import mmap
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_lightning.data.cache import byte_bar, cache_folder, digest
from ssl_lightning.data.text.corpus import Corpus, byte_wise, canonical, read_bytes
from ssl_lightning.data.text.encodings import detect, without_mark
from ssl_lightning.errors import InputError

EXTENSIONS = {".txt", ".text", ".md", ".rst"}
SEPARATORS = {"blank_line": rb"\r?\n(?:[ \t\r]*\n)+", "line": rb"\r?\n"}


def text_files(
    root: str,
    split: str = "pretrain",
    files: str = "",
    split_on: str | None = None,
    encoding: str = "utf-8",
    cache: str | None = None,
) -> Corpus:
    """Split "pretrain": the documents of a file, of the files of a pattern, or of a folder, below ``root``.

    ``files``: a path or a pattern (``*.txt``, ``**/*.md``); of a folder all .txt, .text, .md and .rst at any depth.
    ``split_on``: None, a file is a document; "blank_line" or "line", a file holds many; any other text is what stands
    between two of them, such as "<|endoftext|>". What holds nothing but space is no document.
    ``encoding``: a name that Python knows, or "detect", file by file.

    The files are read once for their digest and the places of their documents, which the cache keeps; they are read
    again if the place, length or time of change of one is another.

    Raises InputError if there are no files or no text in them, and for an encoding that is not there.
    """
    if split not in ("pretrain", "train"):
        raise InputError(f"text files have no labels and no split {split!r}: give a labeled set as data.probe")
    encoding = encoding if encoding == "detect" else canonical(encoding)
    found = find_files(Path(root).expanduser(), files)
    return _Scan(found, split_on, encoding).corpus(cache_folder(cache))


def find_files(root: Path, files: str) -> list[Path]:
    """The files of a path, pattern or folder below ``root``, sorted; InputError if there are none."""
    place = root / Path(files).expanduser()
    if place.is_file():
        return [place]
    if place.is_dir():
        found = [file for file in place.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file()]
        found = [file for file in found if not any(part.startswith(".") for part in file.relative_to(place).parts)]
        wanted = f"looked for {' '.join(sorted(EXTENSIONS))} at any depth; other files by a pattern such as *.log"
    else:
        pattern = str(Path(files).expanduser())
        found = [root / file for file in glob.glob(pattern, root_dir=root, recursive=True) if (root / file).is_file()]
        wanted = "data.root and data.source.files must lead to a file, a folder, or files by a pattern"
    if not found:
        raise InputError(f"{place.absolute()} holds no text file: {wanted}")
    return sorted(found)


@dataclass(frozen=True)
class _Scan:
    """What there is to know of some files before their text is read."""

    files: list[Path]
    split_on: str | None
    encoding: str

    def corpus(self, cache: Path) -> Corpus:
        status = self._status()
        note = cache / "text-index" / f"{digest(*map(str, self._absolute()), repr(self.split_on), self.encoding)}.npz"
        known = _recall(note, status)
        if known is None:
            known = self._scan()
            _remember(note, status, known)
        place, start, end = known["place"], known["start"], known["end"]
        if not len(place):
            raise InputError(f"{_named(self.files)} holds no text: nothing but space in {len(self.files)} files")
        return Corpus(tuple(self.files), tuple(known["encodings"].tolist()), place, start, end, str(known["content"]))

    def _absolute(self) -> list[Path]:
        return [file.absolute() for file in self.files]

    def _status(self) -> str:
        """Digest of each file's length and time of change."""
        seen = []
        for file in self.files:
            try:
                status = file.stat()
            except OSError as error:
                raise InputError(f"{file} cannot be read ({error.strerror})") from error
            seen.append(f"{status.st_size} {status.st_mtime_ns}")
        return digest(*seen)

    def _scan(self) -> dict[str, np.ndarray]:
        content = hashlib.blake2b(digest_size=12)
        encodings: list[str] = []
        places: list[np.ndarray] = []
        ranges: list[np.ndarray] = []
        with byte_bar("reading text files", sum(file.stat().st_size for file in self.files)) as advance:
            for number, file in enumerate(self.files):
                with _mapped(file) as data:
                    content.update(hashlib.blake2b(data, digest_size=16).digest())
                    encoding, begin = (
                        detect(data, file) if self.encoding == "detect" else without_mark(data, self.encoding)
                    )
                    found = self._documents(data, begin, encoding, file)
                    advance(len(data))
                encodings.append(encoding)
                ranges.append(found)
                places.append(np.full(len(found), number, np.int32))
        start, end = np.concatenate(ranges).T
        made = {"place": np.concatenate(places), "start": start, "end": end}
        return {**made, "encodings": np.array(encodings), "content": np.array(content.hexdigest())}

    def _documents(self, data: mmap.mmap | bytes, begin: int, encoding: str, file: Path) -> np.ndarray:
        """(D, 2) int64: where each document of a file begins and ends."""
        if self.split_on is None:
            edges = [(begin, len(data))]
        elif not byte_wise(encoding):
            raise InputError(f"{file} is {encoding}, which can only be one document a file: leave out split_on")
        else:
            edges = list(_between(self._separator(encoding), data, begin))
        held = []
        for start, end in edges:
            if (first := _TEXT.search(data, start, end)) is not None:
                held.append((start if self.split_on is None else first.start(), end))
        return np.array(held, np.int64).reshape(-1, 2)

    def _separator(self, encoding: str) -> re.Pattern[bytes]:
        assert self.split_on is not None
        pattern = SEPARATORS.get(self.split_on)
        if pattern is not None:
            return re.compile(pattern)
        if not self.split_on:
            raise InputError("data.source.split_on is empty: choose blank_line, line, a text, or null")
        return re.compile(re.escape(self.split_on.encode(encoding)))


_TEXT = re.compile(rb"[^\s\x00]")


def _between(separator: re.Pattern[bytes], data: mmap.mmap | bytes, begin: int) -> Iterator[tuple[int, int]]:
    start = begin
    for match in separator.finditer(data, begin):
        yield start, match.start()
        start = match.end()
    yield start, len(data)


@contextlib.contextmanager
def _mapped(file: Path) -> Iterator[mmap.mmap | bytes]:
    """The bytes of a file without reading them into memory."""
    with contextlib.ExitStack() as opened:
        try:
            stream = opened.enter_context(file.open("rb"))
            data = opened.enter_context(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):  # what is empty, or on some file systems, cannot be mapped
            yield read_bytes(file)
        else:
            yield data


def _named(files: list[Path]) -> str:
    return str(files[0]) if len(files) == 1 else os.path.commonpath(files)


def _recall(note: Path, status: str) -> dict[str, np.ndarray] | None:
    try:
        with np.load(note) as stored:
            known = dict(stored)
        return known if json.loads(str(known.pop("status"))) == status else None
    except (OSError, ValueError, KeyError):
        return None


def _remember(note: Path, status: str, known: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # a cache that may only be read still serves, the files are read each time
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=".", dir=note.parent)
        try:
            with open(handle, "wb") as stream:
                np.savez(stream, status=np.array(json.dumps(status)), **known)
            os.chmod(beside, 0o644)
            os.replace(beside, note)
        finally:
            Path(beside).unlink(missing_ok=True)
