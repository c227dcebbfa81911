"""Tar shards named as WebDataset names them: the members `KEY.jpg`, `KEY.txt` and `KEY.json` are one sample.

Nothing is unpacked: of an image only its place in the shard is noted. So a set in shards has a length and any order.
"""

import glob
import json
import re
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ssl_lightning.data.cache import progress_bar
from ssl_lightning.data.image.image_folder import EXTENSIONS
from ssl_lightning.errors import InputError, told

COLUMNS = {"txt": "caption", **dict.fromkeys((extension[1:] for extension in EXTENSIONS), "image")}
"""By extension; a member with another one is a column of that name."""


def read_shards(pattern: Path, columns: Collection[str]) -> Iterator[tuple[str, list[Any]]]:
    """Where each sample stands, and its values of some columns; None: it has none.

    Columns are `image`, a `Source`, and `caption`, its .txt; others are the fields of its .json, and its
    members of other extensions, such as `cls`.

    Args:
        pattern: of paths, in which `{000..127}` and `{a,b}` are expanded, as are `*`, `?` and `[]`.

    Raises:
        InputError: there is no shard, or one that has no samples or is damaged.
    """
    shards = [shard for name in expanded(str(pattern.absolute())) for shard in sorted(glob.glob(name)) or [name]]
    with progress_bar("indexing shards", len(shards)) as advance:
        for shard in shards:
            for key, members in _samples(shard, {"json", *columns}).items():
                where = f"sample {key} of {shard}"
                with told(f"{where}: its .json is no object"):
                    cells = dict(json.loads(members.pop("json", "{}"))) | members
                yield where, [cells.get(column) for column in columns]
            advance(1)


def expanded(pattern: str) -> list[str]:
    """The names that a pattern with braces stands for: `{08..11}` counts, with leading zeros, and `{a,b}` lists."""
    before, *braces = re.split(r"\{(\d+\.\.\d+|[^{}]*,[^{}]*)\}", pattern, maxsplit=1)
    if not braces:
        return [before]
    first, _, last = braces[0].partition("..")
    numbers = range(int(first), int(last) + 1) if last else ()
    parts = [f"{number:0{len(first)}}" for number in numbers] or braces[0].split(",")
    return [name for part in parts for name in expanded(before + part + braces[1])]


def _samples(shard: str, wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    """The members of each key, by column: the place of an image, the text of any other that is `wanted`."""
    samples: dict[str, dict[str, Any]] = {}
    with told(f"the shard {shard} cannot be read as a tar without compression"), tarfile.open(shard, "r:") as tar:
        for member in filter(tarfile.TarInfo.isfile, tar):
            if member.issparse():  # a few bytes that may say they are gigabytes of zeros
                raise tarfile.ReadError(f"{member.name} is sparse")
            folder, slash, name = member.name.rpartition("/")
            stem, _, extension = name.partition(".")
            column = COLUMNS.get(extension.lower(), extension)
            sample = samples.setdefault(folder + slash + stem, {})
            if column == "image":
                sample[column] = shard, member.offset_data, member.size
            elif column in wanted:
                sample[column] = tar.extractfile(member).read().decode()  # type: ignore[union-attr]
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(512) != bytes(512):
            raise tarfile.ReadError("it ends early, or a header is damaged")
    if not samples:
        raise InputError(f"the shard {shard} is empty")
    return samples
