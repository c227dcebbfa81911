"""Tar shards: what is read of them is what a table of the same gives, and what each mistake is called."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_lightning.data.image_text.image_text import image_text
from ssl_lightning.data.image_text.shards import expanded
from ssl_lightning.errors import InputError


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 7), (20 * number, 5, 0)).save(stream, "PNG")
    return stream.getvalue()


def shard(path: Path, members: dict[str, bytes | str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def read(root: Path, files: str, split: str = "train", **options: Any) -> Any:
    return image_text(
        str(root), split, files, **{"store_size": 8, "cache": str(root / "cache"), "test_size": 0, **options}
    )


def texts(pairs: Any) -> list[str]:
    return [pairs.captions.corpus.text(number) for number in pairs.captions.of(pairs.rows)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two shards of three samples, with a side of the split, a class, and a member of no use; a table of the same."""
    lines = ["image,caption,side,cls"]
    for first in (0, 3):
        members: dict[str, bytes | str] = {}
        for number in range(first, first + 3):
            side = "test" if number == 4 else "train"
            key, label = f"set/{number:04}", "odd" if number % 2 else "even"
            members |= {f"{key}.PNG": png(number), f"{key}.json": json.dumps({"side": side}), f"{key}.cls": label}
            members |= {f"{key}.txt": f"thing {number}\n", f"{key}.npy": bytes(3)}
            (tmp_path / f"{number}.png").write_bytes(png(number))
            lines.append(f"{number}.png,thing {number},{side},{label}")
        shard(tmp_path / f"pairs-{first // 3:02}.tar", members)
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("files", ["pairs-{00..01}.tar", "pairs-*.tar", "pairs-{00,01}.tar"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_shards_are_the_table_of_the_same(root: Path, files: str, split: str) -> None:
    options = {"split_column": "side", "label": "cls"}
    found, wanted = (read(root, name, split, **options) for name in (files, "table.csv"))
    assert texts(found) == texts(wanted)
    assert len(found) == {"train": 5, "test": 1}[split]
    assert found.classes == wanted.classes == ["even", "odd"]
    assert np.array_equal(found.labels, wanted.labels)
    order = np.random.default_rng(0).permutation(len(found))  # as random as a table: there is no stream
    assert np.array_equal(*(part.images[part.subset(order).rows] for part in (found, wanted)))


def test_shards_are_decoded_once(root: Path) -> None:
    first = read(root, "pairs-*.tar").images
    made = sorted((root / "cache").rglob("values.bin"))
    assert len(made) == 1
    assert np.array_equal(read(root, "pairs-{00..01}.tar").images, first)
    assert sorted((root / "cache").rglob("values.bin")) == made
    shard(root / "pairs-01.tar", {"1.png": png(9), "1.txt": "new"})
    assert texts(read(root, "pairs-*.tar")) == ["thing 0", "thing 1", "thing 2", "new"]
    assert read(root, "pairs-*.tar").images[-1, 0, 0, 0] == 180


def test_a_caption_may_stand_in_the_json(root: Path) -> None:
    shard(root / "a.tar", {"1.jpg": png(1), "1.json": json.dumps({"caption": ["x", "y"], "alt": "z"})})
    assert texts(read(root, "a.tar")) == ["x", "y"]
    assert texts(read(root, "a.tar", caption="alt")) == ["z"]


def test_braces() -> None:
    assert expanded("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expanded("{a,b}/{0..1}.tar") == ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]
    assert expanded("a{b}.tar") == ["a{b}.tar"]


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def overwritten(path: Path) -> None:
    """The header of the second member."""
    content = bytearray(path.read_bytes())
    content[1024:1100] = b"x" * 76
    path.write_bytes(content)


WHOLE = {"1.png": png(1), "1.txt": "one", "2.png": png(2), "2.txt": "two"}
TWO_BLOCKS = 1024


@pytest.mark.parametrize(
    ("members", "damage", "line"),
    [
        (WHOLE, lambda path: path.unlink(), r"the shard .*a.tar cannot be read .*No such file"),
        (WHOLE, lambda path: path.write_text("no tar" * 200), r"the shard .*a.tar cannot be read as a tar"),
        (WHOLE, lambda path: path.write_bytes(b""), r"the shard .*a.tar cannot be read as a tar .*empty"),
        (WHOLE, lambda path: cut(path, 700), r"the shard .*a.tar cannot be read .*unexpected end of data"),
        (WHOLE, lambda path: cut(path, 4 * TWO_BLOCKS), r"the shard .*a.tar cannot be read .*it ends early"),
        (WHOLE, overwritten, r"the shard .*a.tar cannot be read .*a header is damaged"),
        ({}, None, r"the shard .*a.tar is empty"),
        ({**WHOLE, "2.txt": b"\xff"}, None, r"the shard .*a.tar cannot be read"),
        ({"1.png": png(1), "1.txt": "one", "2.png": png(2)}, None, r"sample 2 of .*a.tar has no caption"),
        ({"1.png": png(1), "1.txt": "one", "2.txt": "two"}, None, r"sample 2 of .*a.tar has no image"),
        ({**WHOLE, "2.png": b"no image"}, None, r"sample 2 of .*a.tar: its image cannot be decoded \(not an image\)"),
        ({**WHOLE, "2.json": "[1]"}, None, r"sample 2 of .*a.tar: its .json is no object"),
        ({**WHOLE, "2.json": "{"}, None, r"sample 2 of .*a.tar: its .json is no object"),
        ({**WHOLE, "2.json": "[" * 10**5}, None, r"sample 2 of .*a.tar: its .json is no object"),
    ],
)
def test_mistakes(tmp_path: Path, members: dict, damage: Any, line: str) -> None:
    path = shard(tmp_path / "a.tar", members)
    if damage is not None:
        damage(path)
    with pytest.raises(InputError, match=line) as refused:
        read(tmp_path, "a.tar")
    assert "\n" not in str(refused.value)


def test_a_member_of_a_petabyte_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("0.txt")
    header.size = 2**50
    (tmp_path / "a.tar").write_bytes(header.tobuf() + bytes(1024))
    with pytest.raises(InputError, match=r"a\.tar cannot be read as a tar"):
        read(tmp_path, "a.tar")


def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    """A header of old GNU tar that announces a text of 8 GiB of zeros, of which none lies in the shard."""
    header = tarfile.TarInfo("0.txt")
    header.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"77777777777\0"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(bytes(block) + bytes(1024))
    with pytest.raises(InputError, match=r"a\.tar cannot be read as a tar .*0\.txt is sparse"):
        read(tmp_path, "a.tar")
