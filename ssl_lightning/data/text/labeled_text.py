"""Texts with labels, for probes: tables, class folders, or a file a class."""

import csv
import io
import sys
from pathlib import Path

import numpy as np

from ssl_lightning.data.splits import held_out, resolve_size
from ssl_lightning.data.text.corpus import Corpus, canonical, decode, read_bytes
from ssl_lightning.data.text.encodings import detect, without_mark
from ssl_lightning.data.text.text_files import find_files
from ssl_lightning.errors import InputError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
Texts = list[tuple[str, str]]
"""Pairs of text and label."""


def labeled_text(
    root: str,
    split: str = "train",
    files: str = "",
    test_files: str | None = None,
    text: str | int = "text",
    label: str | int = "label",
    encoding: str = "utf-8",
    test_size: int | float = 0.2,
    seed: int = 0,
) -> Corpus:
    """Split "train" ("pretrain" is the same) or "test": one text a document, with its label.

    ``files`` below ``root``, and ``test_files`` likewise where the test set has its own, are one of

    - a .csv or .tsv file, or several by a pattern: ``text`` and ``label`` name two columns of its first line, or
      number them from 0 where it has no such line;
    - a folder of class folders: a file is a text;
    - a pattern of other files (``rt-polarity.*``): a file is a class, each line a text. The classes are named by what
      differs, the end of the name or else its stem.

    Without ``test_files``, ``test_size`` (count or fraction) is held out by label, fixed by ``seed``.

    Raises InputError for what is not there, rows that lack a column, bytes that are no text, and a single class.
    """
    if split not in ("pretrain", "train", "test"):
        raise InputError(f"labeled text has no split {split!r}: choose pretrain, train or test")
    encoding = encoding if encoding == "detect" else canonical(encoding)
    home = Path(root).expanduser()
    found = _read(home, files, text, label, encoding)
    classes = _in_order({name for _, name in found})
    if len(classes) < 2:
        raise InputError(f"{home / files} has the texts of one class only ({''.join(classes)}): a probe needs two")
    if test_files is not None and split == "test":
        found = _read(home, test_files, text, label, encoding)
    number = {name: place for place, name in enumerate(classes)}
    for _, name in found:
        if name not in number:
            raise InputError(f"{home / (test_files or files)} has the label {name!r}, which the training set has not")
    labels = np.array([number[name] for _, name in found], dtype=np.int64)
    corpus = Corpus.from_texts([one for one, _ in found], labels, classes)
    if test_files is not None:
        return corpus
    test = held_out(len(found), resolve_size(test_size, len(found), "test_size"), seed, labels)
    return corpus.subset(test if split == "test" else ~test)


def _read(home: Path, files: str, text: str | int, label: str | int, encoding: str) -> Texts:
    place = home / Path(files).expanduser()
    if place.is_dir():
        found = _class_folders(place, encoding)
    else:
        places = find_files(home, files)
        tables = [file.suffix.lower() in DELIMITERS for file in places]
        if all(tables):
            found = [row for file in places for row in _table(file, text, label, encoding)]
        elif any(tables):
            raise InputError(f"{place} leads to tables and to other files: give one kind")
        else:
            found = _class_files(places, encoding)
    found = [(one.strip(), name) for one, name in found if one.strip()]
    if not found:
        raise InputError(f"{place} holds no text: nothing but space")
    return found


def _text(file: Path, encoding: str) -> str:
    data = read_bytes(file)
    name, begin = detect(data, file) if encoding == "detect" else without_mark(data, encoding)
    return decode(data[begin:], name, file, begin)


def _class_folders(place: Path, encoding: str) -> Texts:
    folders = sorted(folder for folder in place.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not folders:
        raise InputError(f"{place} has no class folders; where a file is a class, give a pattern such as rt-polarity.*")
    found = []
    for folder in folders:
        files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
        found += [(_text(file, encoding), folder.name) for file in files]
    return found


def _class_files(files: list[Path], encoding: str) -> Texts:
    stems = {file.stem for file in files}
    found = []
    for file in files:
        name = file.suffix.removeprefix(".") if len(stems) == 1 else file.stem
        # not splitlines, which parts lines at marks such as \x85 that stand inside old texts
        found += [(line, name) for line in _text(file, encoding).split("\n")]
    return found


def _table(file: Path, text: str | int, label: str | int, encoding: str) -> Texts:
    csv.field_size_limit(sys.maxsize)
    delimiter = DELIMITERS[file.suffix.lower()]
    rows = csv.reader(io.StringIO(_text(file, encoding), newline=""), delimiter=delimiter)
    header = next(rows, []) if isinstance(text, str) or isinstance(label, str) else []
    columns = [_column(file, header, name) for name in (text, label)]
    found = []
    for row in rows:
        if not row:
            continue
        if max(columns) >= len(row):
            raise InputError(f"{file} line {rows.line_num} has {len(row)} columns, not the {max(columns) + 1} needed")
        found.append((row[columns[0]], row[columns[1]].strip()))
    return found


def _column(file: Path, header: list[str], name: str | int) -> int:
    if isinstance(name, int):
        return name
    if name not in header:
        raise InputError(
            f"{file} has no column {name!r} but {', '.join(header) or 'no first line'}: state text and label"
        )
    return header.index(name)


def _in_order(names: set[str]) -> list[str]:
    """Numbers by value, other names by letter."""
    if all(name.lstrip("+-").isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)
