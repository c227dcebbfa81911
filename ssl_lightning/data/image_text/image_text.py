"""Any table of image files and their captions, or any set of them that the `datasets` library reads."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from ssl_lightning.data.cache import cache_folder, cached_dir, digest
from ssl_lightning.data.image.image_cache import decode_folder
from ssl_lightning.data.image_text.dataset import PairDataset
from ssl_lightning.data.splits import digests_of, held_out, require_split, resolve_size
from ssl_lightning.data.text.hf_text import read_table
from ssl_lightning.data.text.text_files import table_options, table_reader
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import PositiveInt, Seed, Size


def image_text(
    root: str,
    split: str,
    files: str = "",
    image: str = "image",
    caption: str = "caption",
    label: str | None = None,
    group: str | None = None,
    split_column: str | None = None,
    test_value: str = "test",
    test_size: Size = 0.2,
    seed: Seed = 0,
    part: str = "train",
    name: str | None = None,
    store_size: PositiveInt = 224,
    channels: Literal[1, 3] = 3,
    cache: str | None = None,
) -> PairDataset:
    """Split "pretrain", "train" (the same) or "test" of pairs, images (N, channels, store_size, store_size) uint8.

    Args:
        root: folder below which `files` may lie.
        files: a table (.csv, .tsv, .json, .jsonl, .parquet, or packed), in which paths are relative to its folder; else
            a folder that the `datasets` library reads or wrote, or a name on the hub, of which `name` and `part` are
            its configuration and split.
        image: column of the file of an image, or of the image itself. Rows of the same file are one image with several
            captions.
        caption: column of a caption, or of a list of captions.
        label: column of a label, for probes; None: no labels.
        group: column of the thing that is shown: images of one thing are on one side of a split; None: each alone.
        split_column: column in which `test_value` says that a row is one of the test set. None: `test_size` (count or
            fraction) is held out by label, fixed by `seed`.
        cache: default `$SSL_CACHE` or `~/.cache/ssl-lightning`.

    Raises:
        InputError: a column is missing, an image cannot be read, or a caption, label or group is empty; says the row.
    """
    require_split(split, "a set of pairs")
    columns = {"image": image, "caption": caption, "label": label, "group": group, "split": split_column}
    used = {role: column for role, column in columns.items() if column is not None}
    source, rows = _read(Path(root).expanduser(), files, list(used.values()), part, name)
    with closing(rows):
        pairs = _by_file(source, rows, used)
    table: dict[str, list[Any]] = {
        role: [pair.get(role) for pair in pairs.values()] for role in (*used, "captions", "number")
    }
    test = _test_rows(source, table, split_column, test_value, test_size, seed)
    chosen = np.flatnonzero(test if split == "test" else ~test)
    home, names = _files(list(pairs), cache_folder(cache))
    store = decode_folder(home, names, store_size, channels, cache_folder(cache))
    for row, reason in store.corrupt.items():
        _refuse(source, table["number"][row], f"{names[row]} cannot be read as an image ({reason})")
    labels, classes = _numbered(table.get("label"))
    groups, _ = _numbered(table.get("group"))
    return PairDataset(store.images, table["captions"], labels, classes, groups).subset(chosen)


def _read(root: Path, files: str, columns: Sequence[str], part: str, name: str | None) -> tuple[Path, Any]:
    """What is read, and the values of the columns of its rows."""
    if not files:
        raise InputError("data.source.files is empty: give a table of images and captions, or a set of the hub")
    place = root / Path(files).expanduser()
    if reader := table_reader(place):
        if not place.is_file():
            raise InputError(f"there is no table at {place.absolute()}")
        options = table_options(place, columns, ["utf-8"])
        return place, read_table(str(place), reader, columns, "train", options)
    path = str(place.absolute()) if place.is_dir() else files
    return place, read_table(path, path, columns, part, {"name": name})


def _by_file(source: Path, rows: Any, used: dict[str, str]) -> dict[Any, dict[str, Any]]:
    """The images by their files: the cells of their first row by role, its number from 1, and their captions."""
    pairs: dict[Any, dict[str, Any]] = {}
    for number, values in enumerate(rows, start=1):
        cells = dict(zip(used, values, strict=True))
        captions = cells["caption"] if isinstance(cells["caption"], list) else [cells["caption"]]
        texts = [text.strip() if isinstance(text, str) else "" for text in captions]
        empty = [role for role in ("label", "group") if role in used and cells[role] in (None, "")]
        if empty or not texts or not all(texts):
            _refuse(source, number, f"its {used[empty[0] if empty else 'caption']} is empty")
        place = _place(source, cells["image"])
        if place is None:
            _refuse(source, number, f"there is no {used['image']} at {cells['image']!r}")
        pairs.setdefault(place, {**cells, "number": number, "captions": []})["captions"] += texts
    if not pairs:
        raise InputError(f"{source} has no rows")
    return pairs


def _refuse(source: Path, number: int, wrong: str) -> NoReturn:
    raise InputError(f"row {number} of {source}: {wrong}")


def _place(source: Path, value: Any) -> str | bytes | None:
    """The file of an image, its path or its bytes; None if there is none."""
    if isinstance(value, dict):  # as `datasets` holds images
        value = value.get("bytes") or value.get("path")
    if not value or isinstance(value, bytes):
        return value or None
    file = (source.parent if source.suffix else source) / str(value)
    return str(file) if file.is_file() else None


def _files(places: list[str | bytes], cache: Path) -> tuple[Path, list[str]]:
    """A folder, and the files of the images in it: bytes are written to the cache."""
    if not any(isinstance(place, bytes) for place in places):
        return Path("/"), [str(Path(str(place)).absolute())[1:] for place in places]
    contents = [place if isinstance(place, bytes) else Path(place).read_bytes() for place in places]

    def write(folder: Path) -> None:
        for row, content in enumerate(contents):
            (folder / str(row)).write_bytes(content)

    folder = cached_dir(cache / "embedded_images" / digest(*contents), write)
    return folder, [str(row) for row in range(len(contents))]


def _test_rows(
    source: Path, table: dict[str, list[Any]], column: str | None, value: str, size: int | float, seed: int
) -> np.ndarray:
    """Mask (N,) of the images of the test set."""
    total = len(table["image"])
    if column is None:
        names = digests_of(map(str, table.get("group") or table["captions"]))
        labels, _ = _numbered(table.get("label"))
        return held_out(total, resolve_size(size, total, "data.source.test_size"), seed, labels, digests=names)
    test = np.array([str(found) == value for found in table["split"]])
    if test.all() or not test.any():
        known = ", ".join(sorted({str(found) for found in table["split"]})[:10])
        raise InputError(f"{source} needs rows with {column}={value} and others; it has {known}")
    return test


def _numbered(names: list[Any] | None) -> tuple[np.ndarray | None, list[str] | None]:
    """Numbers (N,) of names in their sorted order, and that; None for None."""
    if names is None:
        return None, None
    known, numbers = np.unique([str(name) for name in names], return_inverse=True)
    return numbers, known.tolist()
