"""Any files of text as a corpus: plain text and tables, compressed or not, with or without labels."""

import codecs
import glob
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ssl_lightning.data.cache import cache_folder, digest, file_status
from ssl_lightning.data.text.corpus import Corpus, Document, cached_corpus, open_split
from ssl_lightning.data.text.hf_text import read_rows
from ssl_lightning.errors import InputError, InputWarning

VERSION = 1  # raise it when the same files give other documents, so that old caches are not used
CHUNK = 2**24  # bytes that are decoded at a time
PLAIN = {".txt", ".text", ".md", ".rst"}
TABLES = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}
COMPRESSED = {".gz", ".bz2", ".zst"}
SEPARATORS = {"blank_line": r"\r?\n(?:[ \t\r]*\n)+", "line": r"\r?\n"}
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip"}
MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}  # which begin as those of UTF-16 do
MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def text_files(
    root: str,
    split: str = "pretrain",
    files: str = "",
    column: str | int = "text",
    label: str | int | None = None,
    split_on: str | None = None,
    encoding: str = "utf-8",
    test_files: str | None = None,
    test_size: int | float = 0.2,
    seed: int = 0,
    cache: str | None = None,
) -> Corpus:
    """Split "pretrain" ("train" is the same): the documents of files below `root`; with labels, also split "test".

    A row of a table (.csv, .tsv, .json, .jsonl, .ndjson, .parquet) is a document, and so is a file of plain text. Names
    may end in .gz, .bz2 or .zst. Documents of nothing but space are left out.

    Args:
        files: a path, a pattern (`*.txt`, `**/*.md`), or a folder. Of a folder the .txt, .text, .md and .rst files at
            any depth are read, or else the tables; a warning names what is left out.
        column: where the text of a table stands: a name, or a number from 0 for a .csv or .tsv without a header.
        label: None: no labels. Else the labels of a table stand in this column; those of plain text are the names of
            the class folders if `files` is a folder. If it is a pattern (`rt-polarity.*`), a file is a class, named by
            its suffix or else its stem, and each line is a text.
        split_on: what separates the documents of a plain file: "blank_line", "line" or a text such as
            "<|endoftext|>". None or "file": nothing. Space around the documents is dropped.
        encoding: of plain text, .csv and .tsv: a name that Python knows, or "detect", file by file.
        test_files: where the test set has files of its own. None: `test_size` (count or fraction) is held out by
            label, fixed by `seed`.
        cache: holds a copy of the documents, which is used until a file's path, length or time of change differs;
            default `$SSL_CACHE` or `~/.cache/ssl-lightning`.

    Raises:
        InputError: no files, no text in them, a file that is not text in this encoding, or a column that is missing.
    """
    encoding = encoding if encoding == "detect" else _known(encoding)
    if split_on == "":
        raise InputError("data.source.split_on is empty: choose file, blank_line, line or the text of a separator")
    separator = None if split_on in (None, "file") else split_on
    read = partial(_read, Path(root).expanduser(), cache_folder(cache), column, label, separator, encoding)
    return open_split(split, read, files, test_files, test_size, seed)


def _read(
    root: Path, cache: Path, column: str | int, label: str | int | None, split_on: str | None, encoding: str, files: str
) -> tuple[Corpus, list[str] | None]:
    place = root / Path(files).expanduser()
    found = find_files(root, files, label is not None)
    tables = [file for file in found if _reader(file)]
    if tables and (len(tables) < len(found) or split_on is not None):
        raise InputError(f"{place} leads to tables, whose rows are the documents: leave out other files and split_on")

    def documents() -> Iterator[Document]:
        for file in tables:
            yield from _rows(file, column, label, encoding)
        for file in () if tables else found:
            name = None if label is None else _class(file, place, found)
            yield from _documents(file, split_on or ("line" if name and not place.is_dir() else None), encoding, name)
        if file_status(root, found) != status:
            raise InputError(f"files of {place} changed while they were read: start again when they are complete")

    status = file_status(root, found)
    key = digest(str(VERSION), repr((column, label, split_on, encoding)), status)
    packed = tables or any(file.suffix.lower() in COMPRESSED for file in found)
    total = None if packed else sum(file.stat().st_size for file in found)
    return cached_corpus(cache / "text" / key, str(place), documents, total)


def find_files(root: Path, files: str, labeled: bool = False) -> list[Path]:
    """The files of a path, pattern or folder below `root`, sorted; of a labeled folder all in its class folders.

    Raises:
        InputError: there are none.
    """
    pattern = str(Path(files).expanduser())
    place = root / pattern
    if place.is_file():
        return [place]
    if not place.is_dir():
        found = [root / name for name in glob.glob(pattern, root_dir=root, recursive=True) if (root / name).is_file()]
        wanted = "data.root and data.source.files must lead to a file, a folder, or files by a pattern"
    elif labeled:
        found = [file for file in _below(place) if file.parent != place]
        wanted = "labels need a folder of class folders, a table, or a pattern whose files are the classes"
    else:
        found = _readable(place, _below(place))
        wanted = (
            f"looked for {' '.join(sorted({*PLAIN, *TABLES}))} at any depth; name others by a pattern such as *.log"
        )
    if not found:
        raise InputError(f"{place.absolute()} holds no text file: {wanted}")
    return sorted(found)


def _below(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def _readable(folder: Path, files: list[Path]) -> list[Path]:
    plain = [file for file in files if _inner(file).suffix.lower() in PLAIN]
    found = plain or [file for file in files if _reader(file)]
    others = Counter("".join(file.suffixes[-2:]) or file.name for file in set(files) - set(found))
    if found and others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        line = f"left out of {folder}, where {len(found)} files are read: {kinds}; name them by data.source.files"
        warnings.warn(line, InputWarning, stacklevel=2)
    return found


def _inner(file: Path) -> Path:
    """The name before the suffix of its compression."""
    return file.with_suffix("") if file.suffix.lower() in COMPRESSED else file


def _reader(file: Path) -> str | None:
    """What reads a table, or None for plain text."""
    return TABLES.get(_inner(file).suffix.lower())


def _class(file: Path, place: Path, files: list[Path]) -> str:
    """The folder of a file below `place`, or what tells the file from the others: its suffix or else its stem."""
    if place.is_dir():
        return file.relative_to(place).parts[0]
    one_stem = len({_inner(other).stem for other in files}) == 1
    return _inner(file).suffix.removeprefix(".") if one_stem else _inner(file).stem


def _documents(file: Path, split_on: str | None, encoding: str, label: str | None) -> Iterator[Document]:
    parts = read_text(file, _detected(file) if encoding == "detect" else encoding)
    if split_on is None:
        yield parts, label
    else:
        separator = re.compile(SEPARATORS.get(split_on, re.escape(split_on)))
        yield from (([text], label) for text in _split(parts, separator))


def _split(parts: Iterable[str], separator: re.Pattern[str]) -> Iterator[str]:
    rest = ""
    for part in parts:
        rest += part
        begin = 0
        for match in separator.finditer(rest):
            if match.end() < len(rest):  # else the separator may continue in the next part
                yield rest[begin : match.start()].strip()
                begin = match.end()
        rest = rest[begin:]
    yield from (text.strip() for text in separator.split(rest))


def _rows(file: Path, column: str | int, label: str | int | None, encoding: str) -> Iterator[Document]:
    reader = _reader(file) or ""
    options: dict[str, Any] = {"data_files": [glob.escape(str(file.absolute()))]}
    if reader == "csv":
        encoding = _detected(file) if encoding == "detect" else encoding
        for _ in read_text(file, encoding):  # the library names neither the file nor the offset of a wrong byte
            pass
        options |= {"sep": "\t" if _inner(file).suffix.lower() == ".tsv" else ",", "encoding": encoding}
        options |= {"keep_default_na": False, "converters": {column: str, label: str}}
        if isinstance(column, int) or isinstance(label, int):
            options["header"] = None
    yield from read_rows(str(file), reader, column, label, "train", options)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """The bytes of a file, unpacked if its name ends in .gz, .bz2 or .zst."""
    import pyarrow

    try:
        with pyarrow.input_stream(str(file), compression="detect") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error})") from error


def read_text(file: Path, encoding: str) -> Iterator[str]:
    """The text of a file in parts, unpacked, without its byte order mark.

    Raises:
        InputError: the file cannot be read, is not text, or is not in this encoding; names the offset.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    data = b""
    try:
        with _opened(file) as stream:
            while data := stream.read(CHUNK):
                if not offset:
                    _refuse_binary(file, data, encoding)
                text = decoder.decode(data)
                yield text if offset else text.removeprefix("\ufeff")
                offset += len(data)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        byte, where = error.object[error.start], offset + len(data) - len(error.object) + error.start
        raise InputError(
            f"{file} is not {encoding}: byte 0x{byte:02x} at offset {where}; mend it, or state its encoding "
            "(data.source.encoding=latin-1, cp1252, detect)"
        ) from error


def _refuse_binary(file: Path, data: bytes, encoding: str) -> None:
    for magic, kind in PACKED.items():
        if data.startswith(magic):
            raise InputError(
                f"{file} is {kind} data, not text: unpack it, give its name the right ending, or leave it out"
            )
    if encoding.startswith(("utf-16", "utf-32")):
        return
    for mark, name in MARKS.items():
        if data.startswith(mark):
            raise InputError(f"{file} is {name}, not {encoding}: state data.source.encoding={name}")
    if (where := data.find(b"\0", 0, 8000)) >= 0:  # by which git tells binary files, too
        raise InputError(f"{file} is binary, not text: byte 0x00 at offset {where}; leave it out")


def _detected(file: Path) -> str:
    """The encoding of the file's byte order mark, or else UTF-8 if it is in it, or else the likeliest one."""
    from charset_normalizer import from_bytes

    with _opened(file) as stream:
        sample = stream.read(2**18)
    for mark, name in MARKS.items():
        if sample.startswith(mark):
            return name
    try:
        for _ in read_text(file, "utf-8"):
            pass
        return "utf-8"
    except InputError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
    best = from_bytes(sample).best()
    if best is None:
        raise InputError(f"{file} is in no encoding that can be detected: state it (encoding=...), or leave it out")
    return _known(best.encoding)


def _known(encoding: str) -> str:
    """The name that Python has for an encoding; InputError if it has none."""
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)  # rot13 and others encode no text
    except LookupError as error:
        raise InputError(f"there is no encoding {encoding!r}: try utf-8, latin-1, cp1252, utf-16 or detect") from error
    return "utf-8" if name == "utf-8-sig" else name
