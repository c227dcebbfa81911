"""Any set of texts that the `datasets` library reads: of the Hugging Face hub, or saved on this machine."""

import glob
import itertools
from functools import partial
from pathlib import Path

from ssl_lightning.data.cache import file_status
from ssl_lightning.data.text.corpus import Corpus, cached_corpus, open_split, read_documents
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import PositiveInt, Seed, Size

_READERS = ("text", "csv", "json", "parquet", "pandas", "pickle", "generator", "spark", "sql", "xml")
"""Names of the library's own readers, some of which unpickle."""


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
    if path in _READERS and not (Path(root) / path).exists():
        raise InputError(f"data.source.path={path} names no set: read files with data=text_files")
    folder = (Path(root).expanduser() / Path(path).expanduser()).absolute()
    local = folder.is_dir()
    named = glob.glob(str((folder if local else Path.cwd()) / data_files), recursive=True) if data_files else []
    status = partial(file_status, Path("/"), sorted({*map(str, folder.rglob("*")), *named}))
    source = str(folder) if local else path
    options = {"name": name, "data_files": data_files, "revision": revision}

    def read(part: str) -> Corpus:
        rows = partial(read_documents, source, column, label, part=part, **options)
        decided = source, options, part, column, label, limit
        return cached_corpus(cache, path, lambda: itertools.islice(rows(), limit), status, decided)

    return open_split(split, read, part, test_part, test_size, seed)
