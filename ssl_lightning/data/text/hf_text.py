"""Any set of texts that the `datasets` library reads: of the Hugging Face hub, or saved on this machine."""

import glob
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ssl_lightning.data.cache import file_status
from ssl_lightning.data.text.corpus import Corpus, Document, cached_corpus, open_split
from ssl_lightning.errors import InputError, first_line
from ssl_lightning.ranges import PositiveInt, Seed, Size

_READERS = ("text", "csv", "json", "parquet", "pandas", "pickle", "generator", "spark", "sql", "xml")
"""Names of the library's own readers, some of which unpickle."""
BATCH = 1000  # rows that are read at a time


def hf_text(
    root: str,
    split: str = "pretrain",
    path: str = "",
    name: str | None = None,
    part: str = "train",
    column: str = "text",
    label: str | None = None,
    test_part: str | None = None,
    test_size: Size = 0.2,
    seed: Seed = 0,
    data_files: str | None = None,
    revision: str | None = None,
    limit: PositiveInt | None = None,
    cache: str | None = None,
) -> Corpus:
    """Split "pretrain" ("train" is the same): a row is a document; with labels, also split "test".

    The set is streamed into the cache, so it is stored once, and again when a file on this machine changes. Later runs
    with the same arguments do not ask the hub: give a `revision` to say which state of the set is meant. Rows of
    nothing but space are left out.

    Args:
        root: folder below which `path` may lie.
        path, name, data_files, revision: those of `datasets.load_dataset`; or `path` is a folder that it reads or that
            `Dataset.save_to_disk` wrote.
        part: the library's `split`. `test_part`: that of the test set; None: `test_size` is held out of `part` by
            label, fixed by `seed`.
        column, label: columns of the text and of the label (None: no labels).
        limit: rows that are read (None: all), for a set that is larger than the disk.

    Raises:
        InputError: the set, part or column is not there.
    """
    if not path:
        raise InputError("data.source.path is empty: give the name of a set on the hub, or a folder")
    if path in _READERS and not (Path(root) / path).exists():
        raise InputError(f"data.source.path={path} names no set: read files with data=text_files")
    folder = (Path(root).expanduser() / Path(path).expanduser()).absolute()
    local = folder.is_dir()
    named = glob.glob(str((folder if local else Path.cwd()) / data_files), recursive=True) if data_files else []
    status = partial(file_status, Path("/"), sorted({*map(str, folder.rglob("*")), *named}))
    source = str(folder) if local else path
    loading = {"name": name, "data_files": data_files, "revision": revision}

    def read(part: str) -> tuple[Corpus, list[str] | None]:
        rows = partial(read_rows, path, source, column, label, part, loading)
        options = source, loading, part, column, label, limit
        return cached_corpus(cache, path, lambda: itertools.islice(rows(), limit), status, options)

    return open_split(split, read, part, test_part, test_size, seed)


def read_rows(
    source: str, path: str, column: str | int, label: str | int | None, part: str, options: dict[str, Any]
) -> Iterator[Document]:
    """Text and label name of each row of a set; `source` is what messages call it, the rest is as for `read_table`.

    Raises:
        InputError: the library cannot read the set, a column is missing, or a value is no text or no label.
    """
    columns = [column] if label is None else [column, label]
    for text, *labels in read_table(source, path, columns, part, options):
        yield _document(source, text, labels, label)


def read_table(
    source: str, path: str, columns: Sequence[str | int], part: str, options: dict[str, Any]
) -> Iterator[tuple[Any, ...]]:
    """The values of some columns, row by row, those of a class as its name or, where it is not known, None.

    Args:
        source: what messages call the set.
        path, part, options: what `datasets.load_dataset` is given, or a folder that `save_to_disk` wrote.

    Raises:
        InputError: the library cannot read the set, or a column is missing.
    """
    _hush()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            rows = _load(path, part, cache_dir=scratch, **options)
            classes = [getattr((rows.features or {}).get(column), "names", None) for column in columns]
            for batch in rows.with_format("arrow").iter(BATCH):
                values = [_values(source, batch, *pair) for pair in zip(columns, classes, strict=True)]
                yield from zip(*values, strict=True)
        except InputError:
            raise
        except Exception as error:  # the library raises whatever its readers and its network stumble over
            raise InputError(f"{source} cannot be read ({first_line(error) or type(error).__name__})") from error


def _load(path: str, part: str, cache_dir: str, **options: Any) -> Any:
    import datasets

    if not any((Path(path) / file).is_file() for file in ("state.json", "dataset_dict.json")):
        return datasets.load_dataset(path, split=part, streaming=True, cache_dir=cache_dir, **options)
    stored = datasets.load_from_disk(path)
    return stored[part] if isinstance(stored, dict) else stored


def _values(source: str, batch: Any, column: str | int, classes: list[str] | None) -> list[Any]:
    if str(column) not in batch.column_names:
        known = ", ".join(batch.column_names)
        raise InputError(f"{source} has no column {column!r} but {known}: state data.source.column and .label")
    values = batch[str(column)].to_pylist()
    if classes is None:
        return values
    return [None if value is None or value < 0 else classes[value] for value in values]  # -1 in the hub's test sets


def _document(source: str, text: Any, labels: list[Any], label: str | int | None) -> Document:
    if not isinstance(text, str | None):
        raise InputError(f"{source} has no text in its column but {type(text).__name__}: state data.source.column")
    if not labels:
        return text or "", None
    if labels[0] in (None, ""):
        raise InputError(f"{source} has a row without a label in its column {label!r}")
    return (text or "").strip(), str(labels[0]).strip()


def _hush() -> None:
    """From now on without the library's own bars and messages, and its count of uses, which asks the network."""
    import datasets

    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
