"""Tables of images and captions: what is read, how it is split, and what each mistake is called."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from ssl_lightning.data.image.digits import digits
from ssl_lightning.data.image_text.emoji import emoji_captions
from ssl_lightning.data.image_text.image_text import image_text
from ssl_lightning.data.image_text.templates import captioned
from ssl_lightning.errors import InputError

THINGS, VENDORS = [f"thing {number}" for number in range(12)], ("north", "south")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve things in two drawings each, of one color a thing; the color is the label's."""
    root = tmp_path_factory.mktemp("pairs")
    folder = root / "emoji_captions"
    rows = ["image,caption,category,vendor"]
    for vendor in VENDORS:
        (folder / vendor).mkdir(parents=True)
        for number, thing in enumerate(THINGS):
            Image.new("RGB", (9, 7), (20 * number, 5, 0)).save(folder / vendor / f"{number}.png")
            rows.append(f"{vendor}/{number}.png,{thing},{'even' if number % 2 == 0 else 'odd'},{vendor}")
    (folder / "captions.csv").write_text("\n".join(rows))
    return root


def read(root: Path, split: str = "train", **options: Any) -> Any:
    return image_text(str(root), split, **{"store_size": 8, "cache": str(root / "cache"), **options})


def texts(pairs: Any) -> list[str]:
    return [pairs.captions.corpus.text(number) for number in pairs.captions.of(pairs.rows)]


def test_no_thing_crosses_the_split(root: Path) -> None:
    train, test = (emoji_captions(str(root), split, cache=str(root / "cache")) for split in ("train", "test"))
    assert (len(train), len(test)) == (16, 8)
    assert not set(texts(train)) & set(texts(test))
    assert train.classes == ["even", "odd"]
    for pairs in (train, test):
        drawn = pairs.images[pairs.rows][:, 0, 3, 3] // 20  # the color tells the thing
        assert [f"thing {number}" for number in drawn] == texts(pairs)
        assert np.array_equal(pairs.labels, drawn % 2)


def test_a_style_is_held_out(root: Path) -> None:
    train, test = (
        emoji_captions(str(root), s, held_vendor="south", cache=str(root / "cache")) for s in ("train", "test")
    )
    assert sorted(texts(train)) == sorted(texts(test)) == sorted(THINGS)
    with pytest.raises(InputError, match=r"needs rows with vendor=west and others; it has north, south"):
        emoji_captions(str(root), "train", held_vendor="west", cache=str(root / "cache"))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_several_captions_of_an_image(root: Path, kind: str) -> None:
    columns = {"image": ["0.png", "1.png", "0.png"], "caption": [["a", "b"], ["c"], [" d "]]}
    table = root / "emoji_captions" / "north" / f"some.{kind}"
    made = datasets.Dataset.from_dict(columns)
    made.to_json(table) if kind == "jsonl" else made.to_parquet(table)
    pairs = read(table.parent, files=table.name, test_size=0)
    assert texts(pairs) == ["a", "b", "d", "c"]
    assert pairs.captions.counts.tolist() == [3, 1]


def test_images_of_a_hugging_face_set(root: Path) -> None:

    images = [Image.new("RGB", (8, 8), (50 * number, 0, 0)) for number in range(3)]
    made = datasets.Dataset.from_dict({"picture": images, "words": ["x", "y", "z"]}).cast_column(
        "picture", datasets.Image()
    )
    made.save_to_disk(str(root / "saved"))
    pairs = read(root, files="saved", image="picture", caption="words", test_size=1)
    held = read(root, "test", files="saved", image="picture", caption="words", test_size=1)
    red = [int(part.images[row, 0, 0, 0]) for part in (pairs, held) for row in part.rows]
    assert dict(zip(texts(pairs) + texts(held), red, strict=True)) == {"x": 0, "y": 50, "z": 100}


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        ("image,caption\n0.png,a\nno.png,b", {}, r"row 2 of .*some.csv: there is no image at 'no.png'"),
        ("image,caption\n0.png,a\n1.png,  ", {}, r"row 2 of .*some.csv has no caption"),
        ("image,text\n0.png,a", {}, r"some.csv has no column 'caption' but image, text"),
        ("image,caption,label\n0.png,a,", {"label": "label"}, r"row 1 of .*some.csv has no label"),
        (
            "image,caption\n0.png,a\nbroken.png,b",
            {},
            r"row 2 of .*some.csv: its image cannot be decoded \(not an image\)",
        ),
        ("image,caption", {}, r"some.csv"),
    ],
)
def test_mistakes_name_the_row(root: Path, content: str, options: dict[str, Any], line: str) -> None:
    folder = root / "emoji_captions" / "north"
    (folder / "broken.png").write_text("no image")
    (folder / "some.csv").write_text(content)
    with pytest.raises(InputError, match=line) as refused:
        read(folder, files="some.csv", **{"test_size": 1, **options})
    assert "\n" not in str(refused.value)


def test_what_is_not_there(root: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv cannot be read \(Unable to find"):
        read(root, files="none.csv")
    (root / "pairs.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"pairs\.xlsx is no table: give a \.csv"):
        read(root, files="pairs.xlsx")


def test_a_table_as_spreadsheets_write_it(root: Path) -> None:
    folder, options = root / "emoji_captions", {"files": "some.csv", "test_size": 1}
    (folder / "some.csv").write_text("image,caption\nnorth/0.png,caf\xe9\nnorth/1.png,b", "cp1252")
    with pytest.raises(InputError, match=r"some\.csv cannot be read .*utf-8"):
        read(folder, **options)
    found = [texts(read(folder, split, encoding="cp1252", **options)) for split in ("train", "test")]
    assert sorted(text for part in found for text in part) == ["b", "caf\xe9"]


def test_template_captions_name_the_class() -> None:
    names = [f"number {digit}" for digit in range(10)]
    made = {
        split: captioned(
            "", split, lambda **where: digits(**where, copies=1), ["a {}", "the {}", "{}!"], names, count=2
        )
        for split in ("train", "test")
    }
    for pairs in made.values():
        found = np.array(texts(pairs)).reshape(len(pairs), 2)
        assert all(names[label] in text for label, row in zip(pairs.labels, found, strict=True) for text in row)
        assert (found[:, 0] != found[:, 1]).all()
    again = captioned("", "train", lambda **where: digits(**where, copies=1), ["a {}", "the {}", "{}!"], names, count=2)
    assert texts(again) == texts(made["train"])
    with pytest.raises(InputError, match="3 names and 1 templates are given: give 10 names and 1 templates or more"):
        captioned("", "train", digits, ["{}"], names[:3])
