"""Any table of image files and their captions, tar shards of both, or a set that the `datasets` library reads."""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssl_lightning.data.image.decode import Source, decode_images
from ssl_lightning.data.image_text.dataset import PairDataset
from ssl_lightning.data.image_text.shards import read_shards
from ssl_lightning.data.splits import digests_of, held_out, numbered, require_split, resolve_size
from ssl_lightning.data.tables import is_table, read_table
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import PositiveInt, Seed, Size

Rows = Generator[tuple[str, Sequence[Any]], None, None]


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
    encoding: str = "utf-8",
    store_size: PositiveInt = 224,
    channels: Literal[1, 3] = 3,
    cache: str | None = None,
) -> PairDataset:
    """Split "pretrain", "train" (the same) or "test" of pairs, images (N, channels, store_size, store_size) uint8.

    Images are decoded once, into the cache, those of shards from where they lie.

    Args:
        root: folder below which `files` may lie.
        files: a table (.csv, .tsv, .json, .jsonl, .parquet, or packed), in which paths are relative to its folder; or
            tar shards in WebDataset's naming, as `train-{000..127}.tar`, see `read_shards`; else a folder that the
            `datasets` library reads or wrote, or a name on the hub, of which `name` and `part` are its configuration
            and split; `encoding` is that of a .csv or .tsv.
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
    source = Path(root).expanduser() / Path(files).expanduser()
    with closing(_rows(source, files, list(used.values()), part, name, encoding)) as rows:
        pairs = _by_image(source, rows, used)
    table = {role: [pair[role] for pair in pairs.values()] for role in (*used, "captions", "where")}
    images, corrupt = decode_images(Path("/"), list(pairs), store_size, channels, cache)
    for row, reason in corrupt.items():
        raise InputError(f"{table['where'][row]}: its {image} cannot be decoded ({reason})")
    labels, classes = numbered(table["label"]) if label else (None, None)
    groups = numbered(table["group"])[0] if group else None
    if split_column is None:
        held = resolve_size(test_size, len(pairs), "data.source.test_size")
        names = digests_of(map(str, table.get("group") or table["captions"]))
        test = held_out(len(pairs), held, seed, labels, digests=names)
    else:
        sides = [str(side) for side in table["split"]]
        test = np.array([side == test_value for side in sides])
        if test.all() or not test.any():
            known = ", ".join(sorted(set(sides))[:10])
            raise InputError(f"{source} needs rows with {split_column}={test_value} and others; it has {known}")
    chosen = np.flatnonzero(test == (split == "test"))
    dataset = PairDataset(images, table["captions"], labels=labels, classes=classes, groups=groups)
    return dataset.subset(chosen)


def _rows(source: Path, files: str, columns: list[str], part: str, name: str | None, encoding: str) -> Rows:
    """Where each row or sample stands, and its values of the columns."""
    if source.suffix == ".tar":
        yield from read_shards(source, columns)
        return
    if source.is_file() and not is_table(source):
        raise InputError(f"{source} is no table: give a .csv, .tsv, .json, .jsonl or .parquet")
    known = str(source.absolute()) if source.is_dir() or is_table(source) else files
    for number, values in enumerate(read_table(known, columns, part, encoding, name=name), start=1):
        yield f"row {number} of {source}", values


def _by_image(source: Path, rows: Rows, used: dict[str, str]) -> dict[Source, Any]:
    """The images by their places: the cells of the first row by role, `where` it stands, and all `captions`."""
    pairs: dict[Source, dict[str, Any]] = {}
    for where, values in rows:
        cells = dict(zip(used, values, strict=True))
        captions = cells["caption"] if isinstance(cells["caption"], list) else [cells["caption"]]
        texts = [text.strip() if isinstance(text, str) else "" for text in captions]
        empty = [role for role in ("image", "label", "group") if role in used and cells[role] in (None, "")]
        if empty or not texts or not all(texts):
            raise InputError(f"{where} has no {used[empty[0] if empty else 'caption']}")
        place = _place(source, cells["image"])
        if place is None:
            raise InputError(f"{where}: there is no {used['image']} at {cells['image']!r}")
        pairs.setdefault(place, {**cells, "where": where, "captions": []})["captions"] += texts
    if not pairs:
        raise InputError(f"{source} has no rows")
    return pairs


def _place(source: Path, value: Any) -> Source | None:
    """Of an image; None: there is no such file."""
    if isinstance(value, dict):  # as `datasets` holds images
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | tuple):
        return value
    file = (source.parent if source.is_file() else source) / str(value)
    return str(file.absolute()) if file.is_file() else None
