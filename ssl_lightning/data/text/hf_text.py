"""A text set of the Hugging Face hub, or any other that the ``datasets`` library reads."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssl_lightning.data.cache import byte_bar, cache_folder, digest, made_once
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.errors import InputError


def hf_text(
    root: str,
    split: str = "pretrain",
    path: str = "",
    name: str | None = None,
    part: str = "train",
    column: str = "text",
    data_files: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
    cache: str | None = None,
) -> Corpus:
    """Split "pretrain": one row a document, its text that of ``column``. Blank rows are left out.

    ``path``, ``name``, ``data_files`` and ``revision`` are those of ``datasets.load_dataset``, ``part`` its ``split``.
    ``streaming``: nothing but the first ``limit`` documents is fetched, which makes a set usable that is larger than
    the disk. The texts are kept in the cache by these arguments, and later runs ask the hub no more. ``root`` is used
    for nothing but ``data_files`` that are not absolute.

    Raises InputError if ``datasets`` is not installed, and for a set, part or column that is not there.
    """
    if split not in ("pretrain", "train"):
        raise InputError(f"hf_text has no labels and no split {split!r}: give a labeled set as data.probe")
    if not path:
        raise InputError(
            "data.source.path is empty: the name of a set on the hub, or text, json, parquet with data_files"
        )
    if limit is not None and limit < 1:
        raise InputError(f"data.source.limit={limit} must be at least 1")
    if streaming and limit is None:
        raise InputError("data.source.streaming needs data.source.limit: how many documents are wanted")
    files = None if data_files is None else str((Path(root) / Path(data_files).expanduser()).expanduser().absolute())
    what = json.dumps([path, name, part, column, files, revision, limit, _status(files)])
    home = cache_folder(cache) / "hf" / digest(what)

    def fetch(folder: Path) -> None:
        rows = _rows(path, name, part, files, revision, streaming)
        _write(folder, _texts(rows, column, path), limit)

    made_once(home, fetch)
    ends = np.load(home / "ends.npy")
    starts = np.concatenate([[0], ends[:-1]])
    where = np.zeros(len(ends), np.int32)
    return Corpus((home / "text.utf8",), ("utf-8",), where, starts, ends, (home / "content").read_text())


def _status(files: str | None) -> list[int]:
    place = Path(files or "")
    return [place.stat().st_size, place.stat().st_mtime_ns] if files and place.is_file() else []


def _rows(
    path: str, name: str | None, part: str, files: str | None, revision: str | None, streaming: bool
) -> Iterator[dict[str, Any]]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise InputError("data=hf_text needs the datasets library: pip install 'ssl-lightning[hf]'") from error
    try:
        return iter(load_dataset(path, name, data_files=files, split=part, revision=revision, streaming=streaming))
    except Exception as error:  # the library raises whatever its readers and its network stumble over
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"datasets cannot load {path!r} ({first[0]})") from error


def _texts(rows: Iterator[dict[str, Any]], column: str, path: str) -> Iterator[str]:
    for row in rows:
        if column not in row:
            raise InputError(f"{path} has no column {column!r} but {', '.join(row)}: state data.source.column")
        if not isinstance(row[column], str):
            raise InputError(f"{path} has no text in its column {column!r} but {type(row[column]).__name__}")
        if row[column].strip():
            yield row[column]


def _write(folder: Path, texts: Iterator[str], limit: int | None) -> None:
    content, ends = hashlib.blake2b(digest_size=12), [0]
    with (folder / "text.utf8").open("wb") as stream, byte_bar("reading documents", None) as advance:
        for text in itertools.islice(texts, limit):
            data = text.encode("utf-8", "replace")
            stream.write(data)
            content.update(data)
            ends.append(ends[-1] + len(data))
            advance(len(data))
    if len(ends) == 1:
        raise InputError("the set holds no text: every row is blank")
    np.save(folder / "ends.npy", np.array(ends[1:], np.int64))
    (folder / "content").write_text(content.hexdigest())
