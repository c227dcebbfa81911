"""A collection of documents, as places in files: never as a whole in memory, whatever its size."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ssl_lightning.data.cache import digest
from ssl_lightning.errors import InputError

PIECE = 2**18  # bytes of a document that are read, decoded and tokenized at a time
NEAR = 4096  # bytes before the end of a piece in which a good place to cut is looked for
BREAKS = (rb"[A-Za-z0-9](?= )", rb"\n")


@dataclass(frozen=True)
class Piece:
    """Some bytes of one document: of a file, or in memory. ``start`` is their offset in the file."""

    document: int
    place: Path | bytes
    start: int
    end: int
    encoding: str

    def text(self) -> str:
        """Raises InputError with file and offset at the first byte that is not text."""
        if isinstance(self.place, bytes):
            return self.place.decode(self.encoding)
        return decode(read_bytes(self.place, self.start, self.end), self.encoding, self.place, self.start)


@dataclass(frozen=True)
class Corpus:
    """D documents, each a range of bytes of one file, in an order that is always the same.

    ``places``: paths, or bytes that are in memory; ``encodings``: one for each of them. ``place``, ``start`` and
    ``end``: (D,) integers. ``content``: digest of the bytes of all places. ``labels``: (D,) integers or None, and
    ``classes`` their names.
    """

    places: tuple[Path | bytes, ...]
    encodings: tuple[str, ...]
    place: np.ndarray
    start: np.ndarray
    end: np.ndarray
    content: str
    labels: np.ndarray | None = None
    classes: list[str] | None = None

    @classmethod
    def from_texts(
        cls, texts: Sequence[str], labels: np.ndarray | None = None, classes: list[str] | None = None
    ) -> Corpus:
        """Documents that are in memory. Half characters (lone surrogates), which no file can hold, become "?"."""
        encoded = [text.encode("utf-8", "replace") for text in texts]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        block = b"".join(encoded)
        starts = np.concatenate([np.zeros(1, np.int64), ends])[: len(ends)]
        where = np.zeros(len(texts), np.int32)
        return cls((block,), ("utf-8",), where, starts, ends, digest(block), labels, classes)

    def __len__(self) -> int:
        return len(self.place)

    @property
    def sizes(self) -> np.ndarray:
        """(D,) int64 bytes of each document in its file."""
        return self.end - self.start

    @property
    def key(self) -> str:
        """Digest of the documents, wherever their files lie."""
        arrays = (array.astype(np.int64).tobytes() for array in (self.place, self.start, self.end))
        return digest(self.content, *self.encodings, *arrays)

    def subset(self, chosen: np.ndarray) -> Corpus:
        """The documents of a mask (D,) bool or of positions."""
        labels = None if self.labels is None else self.labels[chosen]
        return replace(self, place=self.place[chosen], start=self.start[chosen], end=self.end[chosen], labels=labels)

    def cut(self, first: int) -> tuple[Corpus, np.ndarray]:
        """Cuts after the ``first`` bytes: the document that lies there becomes two.

        Returns the corpus and a mask (D,) bool of the documents behind the cut. It is moved back to the beginning of
        a character where it falls into one.
        """
        ends = np.cumsum(self.sizes)
        row = int(np.searchsorted(ends, first, side="right"))
        behind = np.arange(len(self)) >= row
        if row == len(self) or first == ends[row] - self.sizes[row]:
            return self, behind
        where = int(self.start[row] + first - (ends[row] - self.sizes[row]))
        where = self._whole_character(row, where)
        if where == self.start[row]:
            return self, behind
        made = replace(
            self,
            place=np.insert(self.place, row, self.place[row]),
            start=np.insert(self.start, row + 1, where),
            end=np.insert(self.end, row, where),
            labels=None if self.labels is None else np.insert(self.labels, row, self.labels[row]),
        )
        return made, np.insert(behind, row, False)

    def _whole_character(self, row: int, where: int) -> int:
        encoding, start = self.encodings[self.place[row]], int(self.start[row])
        if encoding == "utf-8":
            start = max(start, where - 3)
            return start + _character_start(self._bytes(row, start, where + 1), where - start)
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        decoder.decode(self._bytes(row, start, where))
        return where - len(decoder.getstate()[0])

    def _bytes(self, row: int, start: int, end: int) -> bytes:
        place = self.places[self.place[row]]
        return place[start:end] if isinstance(place, bytes) else read_bytes(place, start, end)

    def pieces(self) -> Iterator[Piece]:
        """All documents in order, long ones in several pieces.

        Cut before a space behind a letter or digit, where the pre-tokenizers of BERT, GPT-2 and their successors part
        words anyhow, so that the tokens are those of the whole document; else at a line break; else anywhere.
        """
        for row in range(len(self)):
            place, encoding = self.places[self.place[row]], self.encodings[self.place[row]]
            start, last = int(self.start[row]), int(self.end[row])
            while start < last:
                end = self._piece_end(row, start, last, encoding)
                if isinstance(place, bytes):
                    yield Piece(row, place[start:end], 0, end - start, encoding)
                else:
                    yield Piece(row, place, start, end, encoding)
                start = end

    def _piece_end(self, row: int, start: int, last: int, encoding: str) -> int:
        if last - start <= PIECE or not byte_wise(encoding):
            return last
        near = start + PIECE - NEAR
        window = self._bytes(row, near, start + PIECE)
        for pattern in BREAKS:
            found = [match.end() for match in re.finditer(pattern, window)]
            if found:
                return near + found[-1]
        if encoding == "utf-8":
            return near + _character_start(window, len(window) - 1)
        return start + PIECE if one_byte(encoding) else last

    def texts(self, at_most: int | None = None) -> Iterator[str]:
        """The text of all pieces; beyond ``at_most`` bytes, of a part of the documents, evenly spread."""
        total = int(self.sizes.sum())
        chosen = self
        if at_most is not None and total > at_most and len(self) > 1:
            count = max(1, len(self) * at_most // total)
            chosen = self.subset(np.linspace(0, len(self) - 1, count).round().astype(np.int64))
        read = 0
        for piece in chosen.pieces():
            yield piece.text()
            read += piece.end - piece.start
            if at_most is not None and read >= at_most:
                return


def _character_start(data: bytes, position: int) -> int:
    """The largest offset up to ``position`` at which a UTF-8 character begins."""
    while position > 0 and data[position] & 0xC0 == 0x80:
        position -= 1
    return position


def canonical(encoding: str) -> str:
    """The name that Python has for an encoding; InputError if it has none."""
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)  # such as rot13, which encodes no text
    except LookupError as error:
        raise InputError(f"there is no encoding {encoding!r}: try utf-8, latin-1, cp1252, utf-16 or detect") from error
    return "utf-8" if name == "utf-8-sig" else name


def byte_wise(encoding: str) -> bool:
    """Whether a line break and a space are the bytes that they are in ASCII."""
    return "\n ".encode(encoding) == b"\n "


def one_byte(encoding: str) -> bool:
    """Whether every byte is a character."""
    return encoding == "ascii" or encoding.startswith(("iso8859", "cp125", "koi8", "mac-"))


def read_bytes(path: Path, start: int = 0, end: int | None = None) -> bytes:
    """Bytes of a file, with an InputError that names it if it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(-1 if end is None else end - start)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error


def decode(data: bytes, encoding: str, path: Path, start: int = 0) -> str:
    """Text of bytes that begin at offset ``start`` of a file; InputError names the first byte that is none."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        byte, offset = data[error.start], start + error.start
        raise InputError(
            f"{path} is not {encoding}: byte 0x{byte:02x} at offset {offset}; "
            "mend it, or state the encoding (data.source.encoding=latin-1, cp1252, detect)"
        ) from error
