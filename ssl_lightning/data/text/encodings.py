"""Which encoding a file is in."""

import codecs
import mmap
from pathlib import Path

from ssl_lightning.data.text.corpus import canonical
from ssl_lightning.errors import InputError

MARKS = {  # the longer ones first: that of UTF-16 begins that of UTF-32
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
SAMPLE = 2**18  # bytes from which an encoding is guessed


def without_mark(data: mmap.mmap | bytes, encoding: str) -> tuple[str, int]:
    """The encoding, with its byte order, and the offset behind a byte order mark of it."""
    for mark, name in MARKS.items():
        if name.startswith(encoding) and data[: len(mark)] == mark:
            return canonical(name), len(mark)
    return encoding, 0


def detect(data: mmap.mmap | bytes, file: Path) -> tuple[str, int]:
    """Encoding, and the offset at which the text begins: by its mark, else UTF-8 if it is, else the likeliest.

    Raises InputError for what is likely no text at all.
    """
    for mark, name in MARKS.items():
        if data[: len(mark)] == mark:
            return canonical(name), len(mark)
    if _is_utf8(data):
        return "utf-8", 0
    from charset_normalizer import from_bytes

    best = from_bytes(bytes(data[:SAMPLE])).best()
    if best is None:
        raise InputError(f"{file} is in no encoding that can be detected: state it (encoding=...), or leave it out")
    return canonical(best.encoding), 0


def _is_utf8(data: mmap.mmap | bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), SAMPLE):
            decoder.decode(data[start : start + SAMPLE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
