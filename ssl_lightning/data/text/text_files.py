"""Any files of text as a corpus: plain text and tables, compressed or not, with or without labels."""

import glob
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ssl_lightning.data.cache import file_status
from ssl_lightning.data.tables import TABLES, is_table, unpacked
from ssl_lightning.data.text.corpus import Corpus, Document, cached_corpus, open_split, read_documents
from ssl_lightning.errors import InputError, first_line, told
from ssl_lightning.ranges import Seed, Size

PLAIN = {".txt", ".text", ".md", ".rst"}
KNOWN = {*PLAIN, *TABLES}
SEPARATORS = {"blank_line": r"\r?\n(?:[ \t\r]*\n)+", "line": r"\r?\n"}
WANTED = (
    f"data.root and data.source.files must lead to a file, a folder of {' '.join(sorted(KNOWN))}, or a "
    "pattern such as *.log; labels need a table, a folder of class folders, or a pattern whose files are the classes"
)


def text_files(
    root: str,
    split: str = "pretrain",
    files: str = "",
    column: str = "text",
    label: str | None = None,
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
        files: a path, a pattern (`*.txt`, `**/*.md`), or a folder, of which the .txt, .text, .md and .rst files at any
            depth are read, or the tables if it has these instead.
        column: where the text of a table stands.
        label: None: no labels. Else the labels of a table stand in this column; those of plain text are the names of
            the class folders if `files` is a folder. If it is a pattern (`rt-polarity.*`), a file is a class, named by
            its suffix or else its stem, and each line is a text.
        split_on: what separates the documents of a plain file: "blank_line", "line" or a text such as
            "<|endoftext|>". None or "file": nothing. Space around the documents is dropped.
        encoding: of plain text, .csv and .tsv: a name that Python knows; of plain text also several with spaces between
            them ("utf-8 latin-1"), of which each file is read in the first that fits it.
        test_files: where the test set has files of its own. None: `test_size` (count or fraction) is held out by
            label, fixed by `seed`.
        cache: holds a copy of the documents, which is used until a file's path, length or time of change differs;
            default `$SSL_CACHE` or `~/.cache/ssl-lightning`.

    Raises:
        InputError: no files, no text in them, a file that is not text in this encoding, or a column that is missing.
    """
    folder = Path(root).expanduser()

    def read(files: str) -> Corpus:
        place, found = folder / Path(files).expanduser(), find_files(folder, files, label is not None)
        options = column, label, split_on, encoding
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
    home, wanted = (place, "**") if place.is_dir() else (root, str(pattern))
    found = [home / name for name in glob.glob(wanted, root_dir=home, recursive=True)]  # but no hidden ones
    if place.is_dir() and labeled:
        found = [file for file in found if file.parent != place]
    elif place.is_dir():
        found = [file for file in found if unpacked(file).suffix.lower() in KNOWN]
    found = sorted(file for file in found if file.is_file())
    if not found:
        raise InputError(f"{place.absolute()} holds no text file: {WANTED}")
    return found


def _documents(
    place: Path, files: list[Path], column: str, label: str | None, split_on: str | None, encoding: str
) -> Iterator[Document]:
    separator = None if split_on in ("file", "") else split_on
    if any(is_table(file) for file in files):
        if separator or not all(is_table(file) for file in files):
            raise InputError(f"{place} leads to tables, whose rows are documents: leave out other files and split_on")
        for file in files:
            yield from read_documents(str(file.absolute()), column, label, encoding=encoding)
        return
    if label is not None and not place.is_dir():
        separator = separator or "line"
    for file in files:
        name = None if label is None else _class(file, place, files)
        text = read_text(file, encoding)
        if separator is None:
            yield text, name
        else:
            parts = re.split(SEPARATORS.get(separator, re.escape(separator)), text)
            yield from ((part.strip(), name) for part in parts)


def _class(file: Path, place: Path, files: list[Path]) -> str:
    """The folder of a file below `place`, or what tells the file from the others: its suffix or else its stem."""
    if place.is_dir():
        return file.relative_to(place).parts[0]
    one_stem = len({unpacked(other).stem for other in files}) == 1
    return unpacked(file).suffix.removeprefix(".") if one_stem else unpacked(file).stem


def read_text(file: Path, encodings: str) -> str:
    """The text of a file, unpacked, without its byte order mark, in the first of the encodings that fits it.

    Raises:
        InputError: the file cannot be read, is not text, or is in none of these encodings.
    """
    import pyarrow

    with told(f"{file} cannot be read", OSError), pyarrow.input_stream(str(file), compression="detect") as stream:
        data = stream.read()
    for encoding in encodings.split() or [encodings]:
        try:
            text = data.decode(encoding)
            if "\0" in text:
                raise ValueError(f"byte 0 at offset {data.find(0)}")
            return text.removeprefix("\ufeff")
        except (LookupError, ValueError) as error:
            reason = first_line(error)
    raise InputError(
        f"{file} is not {' or '.join(encodings.split())} text ({reason}): leave it out, mend it, or state its encoding"
        " (data.source.encoding=latin-1, cp1252, utf-16)"
    )
