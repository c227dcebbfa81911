"""Any files of text as a corpus: plain text and tables, compressed or not, with or without labels."""

import glob
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ssl_lightning.data.cache import file_status
from ssl_lightning.data.text.corpus import Corpus, Document, cached_corpus, open_split
from ssl_lightning.data.text.hf_text import read_rows
from ssl_lightning.errors import InputError, InputWarning
from ssl_lightning.ranges import Seed, Size

PLAIN = {".txt", ".text", ".md", ".rst"}
TABLES = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}
COMPRESSED = {".gz", ".bz2", ".zst"}
SEPARATORS = {"blank_line": r"\r?\n(?:[ \t\r]*\n)+", "line": r"\r?\n"}
WANTED = (
    f"data.root and data.source.files must lead to a file, a folder of {' '.join(sorted({*PLAIN, *TABLES}))}, or a "
    "pattern such as *.log; labels need a table, a folder of class folders, or a pattern whose files are the classes"
)


def text_files(
    root: str,
    split: str = "pretrain",
    files: str = "",
    column: str | int = "text",
    label: str | int | None = None,
    split_on: str | None = None,
    encoding: str = "utf-8",
    test_files: str | None = None,
    test_size: Size = 0.2,
    seed: Seed = 0,
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
        encoding: of plain text, .csv and .tsv: a name that Python knows, or several with spaces between them
            ("utf-8 latin-1"), of which each file is read in the first that fits it.
        test_files: where the test set has files of its own. None: `test_size` (count or fraction) is held out by
            label, fixed by `seed`.
        cache: holds a copy of the documents, which is used until a file's path, length or time of change differs;
            default `$SSL_CACHE` or `~/.cache/ssl-lightning`.

    Raises:
        InputError: no files, no text in them, a file that is not text in this encoding, or a column that is missing.
    """
    separator = None if split_on in ("file", "") else split_on
    encodings = encoding.split() or [encoding]
    folder = Path(root).expanduser()

    def read(files: str) -> tuple[Corpus, list[str] | None]:
        place = folder / Path(files).expanduser()
        found = find_files(folder, files, label is not None)
        options = column, label, separator, encodings
        documents = partial(_documents, place, found, *options)
        return cached_corpus(cache, str(place), documents, partial(file_status, folder, found), options)

    return open_split(split, read, files, test_files, test_size, seed)


def find_files(root: Path, files: str, labeled: bool = False) -> list[Path]:
    """The files of a path, pattern or folder below `root`, sorted; of a labeled folder all in its class folders.

    Raises:
        InputError: there are none.
    """
    pattern = Path(files).expanduser()
    place = root / pattern
    if place.is_file():
        return [place]
    if not place.is_dir():
        found = _matching(root, str(pattern))
    elif labeled:
        found = [file for file in _matching(place, "**") if file.parent != place]
    else:
        found = _readable(place, _matching(place, "**"))
    if not found:
        raise InputError(f"{place.absolute()} holds no text file: {WANTED}")
    return sorted(found)


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Files below the folder, but no hidden ones, nor those of hidden folders."""
    found = (folder / name for name in glob.glob(pattern, root_dir=folder, recursive=True))
    return [file for file in found if file.is_file()]


def _readable(folder: Path, files: list[Path]) -> list[Path]:
    plain = [file for file in files if _inner(file).suffix.lower() in PLAIN]
    found = plain or [file for file in files if table_reader(file)]
    others = Counter("".join(file.suffixes[-2:]) or file.name for file in set(files) - set(found))
    if found and others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        line = f"left out of {folder}, where {len(found)} files are read: {kinds}; name them by data.source.files"
        warnings.warn(line, InputWarning, stacklevel=2)
    return found


def _inner(file: Path) -> Path:
    """The name before the suffix of its compression."""
    return file.with_suffix("") if file.suffix.lower() in COMPRESSED else file


def table_reader(file: Path) -> str | None:
    """What reads a table, or None for plain text."""
    return TABLES.get(_inner(file).suffix.lower())


def _class(file: Path, place: Path, files: list[Path]) -> str:
    """The folder of a file below `place`, or what tells the file from the others: its suffix or else its stem."""
    if place.is_dir():
        return file.relative_to(place).parts[0]
    one_stem = len({_inner(other).stem for other in files}) == 1
    return _inner(file).suffix.removeprefix(".") if one_stem else _inner(file).stem


def _documents(
    place: Path,
    files: list[Path],
    column: str | int,
    label: str | int | None,
    split_on: str | None,
    encodings: Sequence[str],
) -> Iterator[Document]:
    tables = [file for file in files if table_reader(file)]
    if tables and (len(tables) < len(files) or split_on is not None):
        raise InputError(f"{place} leads to tables, whose rows are the documents: leave out other files and split_on")
    for file in tables:
        yield from _rows(file, column, label, encodings)
    if label is not None and not place.is_dir():
        split_on = split_on or "line"
    for file in () if tables else files:
        text, _ = read_text(file, encodings)
        name = None if label is None else _class(file, place, files)
        if split_on is None:
            yield text, name
        else:
            separator = SEPARATORS.get(split_on, re.escape(split_on))
            yield from ((part.strip(), name) for part in re.split(separator, text))


def _rows(file: Path, column: str | int, label: str | int | None, encodings: Sequence[str]) -> Iterator[Document]:
    columns = [column] if label is None else [column, label]
    yield from read_rows(
        str(file), table_reader(file) or "", column, label, "train", table_options(file, columns, encodings)
    )


def table_options(file: Path, columns: Sequence[str | int], encodings: Sequence[str]) -> dict[str, Any]:
    """How `datasets.load_dataset` reads these columns of a table, as texts where the format has no types.

    Raises:
        InputError: the file cannot be read, or is in none of these encodings.
    """
    options: dict[str, Any] = {"data_files": [glob.escape(str(file.absolute()))]}
    if table_reader(file) == "csv":
        _, encoding = read_text(file, encodings)  # the library names neither the file nor the offset of a wrong byte
        options |= {"sep": "\t" if _inner(file).suffix.lower() == ".tsv" else ",", "encoding": encoding}
        options |= {"keep_default_na": False, "converters": dict.fromkeys(columns, str)}
        if any(isinstance(column, int) for column in columns):
            options["header"] = None
    return options


def read_text(file: Path, encodings: Sequence[str]) -> tuple[str, str]:
    """The text of a file, unpacked, without its byte order mark, and the first of the encodings that fits it.

    Raises:
        InputError: the file cannot be read, is not text, or is in none of these encodings; names the offset.
    """
    import pyarrow

    try:
        with pyarrow.input_stream(str(file), compression="detect") as stream:
            data = stream.read()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error})") from error
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except LookupError as error:
            raise InputError(f"there is no encoding {encoding!r}: try utf-8, latin-1, cp1252 or utf-16") from error
        except UnicodeDecodeError as error:
            wrong = error.start
            continue
        if "\0" not in text:
            return text.removeprefix("\ufeff"), encoding
        wrong = data.find(b"\0")
    raise InputError(
        f"{file} is not {' or '.join(encodings)}: byte 0x{data[wrong]:02x} at offset {wrong}; leave it out if it is no"
        " text, mend it, or state its encoding (data.source.encoding=latin-1, cp1252, utf-16)"
    )
