"""Documents in one UTF-8 file that is memory-mapped, never in memory as a whole."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ssl_lightning.data.cache import cached_dir, digest, progress_bar, reading
from ssl_lightning.data.splits import held_out, require_split, resolve_size
from ssl_lightning.errors import InputError

PIECE = 2**18  # bytes of a document that are decoded and tokenized at a time
NEAR = 4096  # bytes before the end of a piece in which a good place to cut is looked for
BREAKS = (rb"[A-Za-z0-9](?= )", rb"\n")
Document = tuple[Iterable[str], str | None]
"""The text of a document in parts, and the name of its label."""


@dataclass(frozen=True)
class Corpus:
    """D documents, each a range of bytes of `data`, in an order that is always the same.

    Args:
        data: (bytes,) uint8, UTF-8, in memory or memory-mapped.
        start, end: (D,) int64.
        content: digest of `data`.
        labels: (D,) int64 or None, and `classes` their names.
    """

    data: np.ndarray
    start: np.ndarray
    end: np.ndarray
    content: str
    labels: np.ndarray | None = None
    classes: list[str] | None = None

    @classmethod
    def from_texts(
        cls, texts: Sequence[str], labels: np.ndarray | None = None, classes: list[str] | None = None
    ) -> Corpus:
        """Documents in memory. Half characters (lone surrogates), which UTF-8 cannot hold, become "?"."""
        encoded = [text.encode("utf-8", "replace") for text in texts]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        block = b"".join(encoded)
        return cls(np.frombuffer(block, np.uint8), ends[:-1], ends[1:], _digest(io.BytesIO(block)), labels, classes)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def sizes(self) -> np.ndarray:
        """(D,) int64 bytes of each document."""
        return self.end - self.start

    @property
    def key(self) -> str:
        """Digest of the documents, wherever they were read from."""
        return digest(self.content, self.start.tobytes(), self.end.tobytes())

    def subset(self, chosen: np.ndarray) -> Corpus:
        """The documents of a mask (D,) bool or of positions."""
        labels = None if self.labels is None else self.labels[chosen]
        return replace(self, start=self.start[chosen], end=self.end[chosen], labels=labels)

    def cut(self, first: int) -> tuple[Corpus, np.ndarray]:
        """Cuts after the first `first` bytes of all documents: the document at that place becomes two.

        Returns the corpus and a mask (D,) bool of the documents after the cut. A cut inside a character moves to its
        beginning.
        """
        ends = np.cumsum(self.sizes)
        row = int(np.searchsorted(ends, first, side="right"))
        after = np.arange(len(self)) >= row
        if row == len(self):
            return self, after
        where = _character_start(self.data, int(self.end[row] - ends[row] + first))
        if where <= self.start[row]:
            return self, after
        parted = replace(
            self,
            start=np.insert(self.start, row + 1, where),
            end=np.insert(self.end, row, where),
            labels=None if self.labels is None else np.insert(self.labels, row, self.labels[row]),
        )
        return parted, np.insert(after, row, False)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Number and UTF-8 of all documents in order, long ones in several pieces.

        They are cut before a space after a letter or digit, where the pre-tokenizers of BERT, GPT-2 and their
        successors separate words, so that the tokens are those of the whole document; else at a line break; else
        between any two characters.
        """
        for row, (start, last) in enumerate(zip(self.start.tolist(), self.end.tolist(), strict=True)):
            while start < last:
                end = last if last - start <= PIECE else self._piece_end(start + PIECE)
                yield row, self.data[start:end].tobytes()
                start = end

    def _piece_end(self, limit: int) -> int:
        near = limit - NEAR
        window = self.data[near:limit].tobytes()
        for pattern in BREAKS:
            found = [match.end() for match in re.finditer(pattern, window)]
            if found:
                return near + found[-1]
        return _character_start(self.data, limit - 1)

    def texts(self, at_most: int | None = None) -> Iterator[str]:
        """The text of all pieces; beyond `at_most` bytes, of a part of the documents, evenly spread."""
        total = int(self.sizes.sum())
        chosen = self
        if at_most is not None and total > at_most and len(self) > 1:
            count = max(1, len(self) * at_most // total)
            chosen = self.subset(np.linspace(0, len(self) - 1, count).round().astype(np.int64))
        read = 0
        for _, piece in chosen.pieces():
            yield piece.decode()
            read += len(piece)
            if at_most is not None and read >= at_most:
                return


def _character_start(data: np.ndarray, position: int) -> int:
    """The largest offset up to `position` at which a UTF-8 character begins."""
    while position < len(data) and data[position] & 0xC0 == 0x80:
        position -= 1
    return position


def _digest(stream: BinaryIO) -> str:
    return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=12)).hexdigest()  # type: ignore[arg-type]


def open_split(
    split: str,
    read: Callable[[str], tuple[Corpus, list[str] | None]],
    train: str,
    test: str | None,
    test_size: int | float,
    seed: int,
) -> Corpus:
    """Split "pretrain" or "train" (the same), or, where there are labels, "test".

    Args:
        read: from a name to a corpus and the name of each document's label, or None.
        train, test: these names; without `test`, `test_size` (count or fraction) is held out of `train` by label,
            fixed by `seed`.

    Raises:
        InputError: another split, a single class, or a test label that the training set does not have.
    """
    require_split(split, "a text set")
    corpus, names = read(train)
    if names is None and split == "test":
        raise InputError("a text set without labels has no test split: state data.source.label or a labeled data.probe")
    if names is None:
        return corpus
    classes = _in_order(set(names))
    if len(classes) < 2:
        raise InputError(f"{train or 'the set'} has the texts of one class only ({classes[0]}): a probe needs two")
    if test is not None and split == "test":
        corpus, names = read(test)
        if names is None or (unknown := sorted(set(names) - set(classes))):
            raise InputError(f"{test} has the label {unknown[0]!r}, which the training set does not have")
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([number[name] for name in names], np.int64)
    corpus = replace(corpus, labels=labels, classes=classes)
    if test is not None:
        return corpus
    held = held_out(len(corpus), resolve_size(test_size, len(corpus), "test_size"), seed, labels)
    return corpus.subset(held if split == "test" else ~held)


def _in_order(names: set[str]) -> list[str]:
    """Numbers by value, other names by letter."""
    if all(name.lstrip("+-").isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def cached_corpus(
    path: Path, name: str, documents: Callable[[], Iterator[Document]], total: int | None = None
) -> tuple[Corpus, list[str] | None]:
    """The corpus in the cache folder `path`, written from `documents()` at the first call, and its label names.

    Args:
        name: where the documents come from, for messages.
        documents: gives them; those of nothing but space are left out.
        total: bytes that will be read, for the progress bar (None: not known).

    Raises:
        InputError: there is no text in them, the cache is damaged, or what `documents` raises.
    """
    cached_dir(path, lambda folder: _write(folder, name, documents(), total))
    with reading(path):
        ends, stored = np.load(path / "ends.npy"), json.loads((path / "corpus.json").read_text())
        data = np.asarray(np.memmap(path / "text.utf8", np.uint8, mode="r"))
        if len(data) != ends[-1]:
            raise ValueError("text is missing")
        return Corpus(data, ends[:-1], ends[1:], stored["content"]), stored["labels"]


def _write(folder: Path, name: str, documents: Iterator[Document], total: int | None) -> None:
    ends, labels = [0], []
    with (folder / "text.utf8").open("w+b") as stream, progress_bar("reading text", total, True) as advance:
        for parts, label in documents:
            size, blank = 0, True
            for part in parts:
                written = stream.write(part.encode("utf-8", "replace"))
                advance(written)
                size, blank = size + written, blank and not part.strip()
            if blank:
                stream.seek(ends[-1])
                stream.truncate()
            else:
                ends.append(ends[-1] + size)
                labels.append(label)
        if not labels:
            raise InputError(f"{name} holds no text: nothing but space")
        stream.seek(0)
        content = _digest(stream)
    np.save(folder / "ends.npy", np.array(ends, np.int64))
    stored = {"content": content, "labels": None if labels[0] is None else labels}
    (folder / "corpus.json").write_text(json.dumps(stored))
