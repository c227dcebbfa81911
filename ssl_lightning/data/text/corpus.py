"""Documents in one UTF-8 file that is memory-mapped, never in memory as a whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssl_lightning.data.cache import cache_folder, cached_dir, digest, progress_bar, reading
from ssl_lightning.data.splits import held_out, numbered, require_split, resolve_size
from ssl_lightning.data.tables import read_table
from ssl_lightning.errors import InputError

VERSION = 3  # raise it when the same source gives other documents, so that old caches are not used
Document = tuple[str, str | None]
"""A text, and the name of its label."""


def pieces_of(size: int) -> re.Pattern[str]:
    """Matches the next piece of a text, at most `size` characters.

    It ends before a space after a letter or digit, where the pre-tokenizers of BERT, GPT-2 and their successors
    separate words, so that the tokens are those of the whole text; else behind a line break; else anywhere.
    """
    some = f"(?s:.{{1,{size}}})"
    return re.compile(rf"{some}(?:(?<=[A-Za-z0-9])(?= )|\Z)|{some}(?<=\n)|{some}")


PIECE = pieces_of(2**16)


@dataclass(frozen=True)
class Corpus:
    """D documents, each a range of bytes of `data`, in an order that is always the same.

    Args:
        data: (bytes,) uint8, UTF-8, in memory or memory-mapped.
        start, end: (D,) int64.
        digests: (D,) uint64, of the bytes of each document.
        labels: (D,) int64 or None, and `classes` their names.
        origins: (D,) uint64 or None: where documents with equal numbers come from, so that no split parts them.
    """

    data: np.ndarray
    start: np.ndarray
    end: np.ndarray
    digests: np.ndarray
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    origins: np.ndarray | None = None

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], labels: np.ndarray | None = None, classes: list[str] | None = None
    ) -> Corpus:
        """Documents in memory. Half characters (lone surrogates), which UTF-8 cannot hold, become "?"."""
        encoded = [text.encode("utf-8", "replace") for text in texts]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        digests = np.array([_digest(data) for data in encoded], np.uint64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends[:-1], ends[1:], digests, labels, classes)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def sizes(self) -> np.ndarray:
        """(D,) int64 bytes of each document."""
        return self.end - self.start

    @property
    def key(self) -> str:
        """Digest of the documents, wherever they were read from."""
        return digest(self.digests.tobytes(), self.sizes.tobytes())

    def text(self, row: int) -> str:
        """A document."""
        return self.data[self.start[row] : self.end[row]].tobytes().decode()

    def texts(self) -> Iterator[str]:
        """All documents in order."""
        return map(self.text, range(len(self)))

    def pieces(self) -> Iterator[tuple[int, str]]:
        """Number and text of all documents in order, long ones in several pieces (see `pieces_of`)."""
        for row, text in enumerate(self.texts()):
            for match in PIECE.finditer(text):
                yield row, match[0]

    def subset(self, chosen: np.ndarray) -> Corpus:
        """The documents of a mask (D,) bool or of positions."""
        columns = {name: getattr(self, name) for name in ("start", "end", "digests", "labels", "origins")}
        part: dict[str, Any] = {name: column[chosen] for name, column in columns.items() if column is not None}
        return replace(self, **part)

    def held_out(self, size: int, seed: int) -> np.ndarray:
        """Mask (D,) bool of about `size` documents, by label; those of equal bytes or of one origin stay together."""
        return held_out(
            len(self), size, seed, self.labels, digests=self.digests if self.origins is None else self.origins
        )

    def spread(self, at_most: int) -> Corpus:
        """About `at_most` bytes of the documents, evenly spread; at least one."""
        count = max(1, int(len(self) * min(1, at_most / self.sizes.sum())))
        return self.subset(np.arange(count) * len(self) // count)

    def cut(self, first: int) -> tuple[Corpus, np.ndarray]:
        """Cuts after the first `first` bytes of all documents: the document at that place becomes two.

        Returns the corpus and a mask (D,) bool of the documents after the cut. A cut inside a character moves to its
        beginning.
        """
        ends = np.cumsum(self.sizes)
        row = int(np.searchsorted(ends, first, side="right"))
        where = int(self.end[row] - ends[row]) + first if row < len(self) else len(self.data)
        while where < len(self.data) and self.data[where] & 0xC0 == 0x80:
            where -= 1
        if row == len(self) or where <= self.start[row]:
            return self, np.arange(len(self)) >= row
        parted = self.subset(np.insert(np.arange(len(self)), row, row))
        parted.end[row] = parted.start[row + 1] = where
        return parted, np.arange(len(parted)) > row


def open_split(
    split: str, read: Callable[[str], Corpus], train: str, test: str | None, test_size: int | float, seed: int
) -> Corpus:
    """Split "pretrain" or "train" (the same), or, where there are labels, "test".

    Args:
        read: from a name to a corpus.
        train, test: these names; without `test`, `test_size` (count or fraction) is held out of `train` by label,
            fixed by `seed`.

    Raises:
        InputError: another split, a single class, or a test label that the training set does not have.
    """
    require_split(split, "a text set")
    corpus = read(train)
    if corpus.labels is None or corpus.classes is None:
        if split == "test":
            raise InputError(
                "a text set without labels has no test split: state data.source.label or a labeled data.probe"
            )
        return corpus
    if len(corpus.classes) < 2:
        raise InputError(
            f"{train or 'the set'} has the texts of one class only ({corpus.classes[0]}): a probe needs two"
        )
    if test is None:
        held = corpus.held_out(resolve_size(test_size, len(corpus), "test_size"), seed)
        return corpus.subset(held if split == "test" else ~held)
    if split != "test":
        return corpus
    found = read(test)
    if unknown := sorted({*(found.classes or ())} - {*corpus.classes}):
        raise InputError(f"{test} has the label {unknown[0]!r}, which the training set does not have")
    labels = np.searchsorted(corpus.classes, found.classes or ())[found.labels]
    return replace(found, labels=labels, classes=corpus.classes)


def read_documents(source: str, column: str, label: str | None, **options: Any) -> Iterator[Document]:
    """Text and label name of each row of a table or set, as `read_table` takes them.

    Raises:
        InputError: the set cannot be read, a column is missing, or a value is no text or no label.
    """
    for text, *labels in read_table(source, [column] if label is None else [column, label], **options):
        if not isinstance(text, str | None):
            raise InputError(f"{source} has no text in its column but {type(text).__name__}: state data.source.column")
        if None in labels or "" in labels:
            raise InputError(f"{source} has a row without a label in its column {label!r}")
        yield ((text or "").strip(), str(labels[0]).strip()) if labels else (text or "", None)


def cached_corpus(
    cache: str | None,
    name: str,
    documents: Callable[[], Iterator[Document]],
    status: Callable[[], str],
    options: Sequence[object],
) -> Corpus:
    """The corpus of `documents()`, which are read at the first call and kept in the cache.

    Args:
        cache: folder; None: `$SSL_CACHE` or `~/.cache/ssl-lightning`.
        name: where the documents come from, for messages.
        documents: gives them; those of nothing but space are left out.
        status: tells the state of what they are read from.
        options: all else that decides what they are.

    Raises:
        InputError: there is no text in them, their status changes while they are read, the cache is damaged, or what
            `documents` raises.
    """
    before = status()

    def build(folder: Path) -> None:
        _write(folder, name, documents())
        if status() != before:
            raise InputError(f"files of {name} changed while they were read: start again when they are complete")

    path = cached_dir(cache_folder(cache) / "text" / digest(str(VERSION), before, repr(options)), build)
    with reading(path):
        ends, digests = np.load(path / "documents.npy")
        names = json.loads((path / "labels.json").read_text())
        labels, classes = (None, None) if names is None else numbered(names)
        data = np.asarray(np.memmap(path / "text.utf8", np.uint8, mode="r"))
        if len(data) != ends[-1]:
            raise ValueError("text is missing")
        ends = ends.astype(np.int64)
        return Corpus(data, np.concatenate([[0], ends[:-1]]), ends, digests, labels, classes)


def _write(folder: Path, name: str, documents: Iterator[Document]) -> None:
    ends, digests, labels = [0], [], []
    with (folder / "text.utf8").open("wb") as stream, progress_bar("reading text", None, True) as advance:
        for text, label in documents:
            if text.strip():
                data = text.encode("utf-8", "replace")
                ends.append(ends[-1] + stream.write(data))
                digests.append(_digest(data))
                labels.append(label)
                advance(len(data))
    if not labels:
        raise InputError(f"{name} holds no text: nothing but space")
    np.save(folder / "documents.npy", np.array([ends[1:], digests], np.uint64))
    (folder / "labels.json").write_text(json.dumps(None if labels[0] is None else labels))


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
