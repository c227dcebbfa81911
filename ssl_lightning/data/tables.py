"""Rows of tables: files (.csv, .json, .parquet ...), folders and sets of the hub, by the `datasets` library."""

import glob
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ssl_lightning.errors import InputError, told

TABLES = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}
COMPRESSED = {".gz", ".bz2", ".zst"}
BATCH = 1000  # rows that are read at a time


def unpacked(file: Path) -> Path:
    """The name before the suffix of its compression."""
    return file.with_suffix("") if file.suffix.lower() in COMPRESSED else file


def is_table(file: Path) -> bool:
    return unpacked(file).suffix.lower() in TABLES


def read_table(
    source: str, columns: Sequence[str], part: str = "train", encoding: str = "utf-8", **options: Any
) -> Iterator[tuple[Any, ...]]:
    """The values of some columns, row by row, those of a class as its name or, where it is not known, None.

    From then on the library is without its own bars and messages, and its count of uses, which asks the network.

    Args:
        source: a table, a folder that `datasets` reads or that its `save_to_disk` wrote, or a set of the hub.
        part, options: of a folder or a set of the hub, what `datasets.load_dataset` is given: `split` and others.
        encoding: of .csv and .tsv, whose cells are read as texts.

    Raises:
        InputError: the library cannot read the set, or a column is missing.
    """
    import datasets

    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    path, suffix = source, unpacked(Path(source)).suffix.lower()
    if is_table(Path(source)):
        path, part, options = TABLES[suffix], "train", {"data_files": [glob.escape(source)]}
        if path == "csv":
            options |= {"sep": "\t" if suffix == ".tsv" else ",", "encoding": encoding}
            options |= {"keep_default_na": False, "converters": dict.fromkeys(columns, str)}
    # the library raises whatever its readers and its network stumble over
    with told(f"{source} cannot be read"), tempfile.TemporaryDirectory() as scratch:
        if any((Path(path) / file).is_file() for file in ("state.json", "dataset_dict.json")):
            stored = datasets.load_from_disk(path)
            rows = stored[part] if isinstance(stored, dict) else stored
        else:
            rows = datasets.load_dataset(path, split=part, streaming=True, cache_dir=scratch, **options)
        classes = [getattr((rows.features or {}).get(column), "names", None) for column in columns]
        for batch in rows.with_format("arrow").iter(BATCH):
            if missing := set(columns) - set(batch.column_names):
                known = ", ".join(batch.column_names)
                raise InputError(f"{source} has no column {min(missing)!r} but {known}: name it in data.source")
            values = (batch[column].to_pylist() for column in columns)
            yield from zip(*map(_named, values, classes), strict=True)


def _named(values: list[Any], classes: list[str] | None) -> list[Any]:
    """Numbers of classes as their names; -1 in the hub's test sets."""
    if classes is None:
        return values
    return [None if value is None or value < 0 else classes[value] for value in values]
