import numpy as np
import pytest

from ssl_lightning.data.text.labeled_text import labeled_text
from ssl_lightning.errors import InputError


def rows(corpus):
    return [(text, corpus.classes[label]) for text, label in zip(corpus.texts(), corpus.labels, strict=True)]


def both(root, **options):
    """The texts of train and test together, sorted, and how many are in test."""
    parts = [rows(labeled_text(str(root), split, **options)) for split in ("train", "test")]
    return sorted(parts[0] + parts[1]), len(parts[1])


TABLE = [('say "no", twice', "neg"), ("two\nlines", "pos"), ("naïve", "neg"), ("good", "pos"), ("fine", "pos")]


def write_table(path, header, delimiter, quote=True, pairs=TABLE):
    lines = [delimiter.join(header)] if header else []
    for text, label in pairs:
        escaped = text.replace('"', '""')
        lines.append(delimiter.join(["7", f'"{escaped}"' if quote else text, label]))
    path.write_bytes("\r\n".join(lines).encode())


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_tables(tmp_path, suffix, delimiter):
    write_table(tmp_path / f"a.{suffix}", ["id", "text", "label"], delimiter)
    found, held = both(tmp_path, files=f"a.{suffix}", test_size=2)
    assert (found, held) == (sorted(TABLE), 2)
    write_table(tmp_path / f"b.{suffix}", ["id", "body", "class"], delimiter)
    assert both(tmp_path, files=f"b.{suffix}", text="body", label="class")[0] == sorted(TABLE)
    write_table(tmp_path / f"c.{suffix}", [], delimiter)
    assert both(tmp_path, files=f"c.{suffix}", text=1, label=2)[0] == sorted(TABLE)


def test_a_test_set_of_its_own(tmp_path):
    write_table(tmp_path / "train.csv", ["id", "text", "label"], ",")
    write_table(tmp_path / "test.csv", ["id", "text", "label"], ",", pairs=[("a", "pos"), ("b", "neg")])
    options = {"files": "train.csv", "test_files": "test.csv"}
    assert rows(labeled_text(str(tmp_path), "pretrain", **options)) == TABLE
    assert rows(labeled_text(str(tmp_path), "test", **options)) == [("a", "pos"), ("b", "neg")]
    write_table(tmp_path / "test.csv", ["id", "text", "label"], ",", pairs=[("a", "so-so")])
    with pytest.raises(InputError, match=r"test\.csv has the label 'so-so', which the training set has not"):
        labeled_text(str(tmp_path), "test", **options)


def test_class_folders(tmp_path):
    for name in ("pos", "neg"):
        (tmp_path / name / "deep").mkdir(parents=True)
        for number in range(5):
            (tmp_path / name / f"{number}.txt").write_text(f" {name} {number}\nand more \n")
        (tmp_path / name / "deep/x.txt").write_text("deep")
        (tmp_path / name / ".hidden").write_text("no")
    (tmp_path / "README").write_text("not a text")
    found, held = both(tmp_path, test_size=4)
    assert len(found) == 12
    assert held == 4
    assert ("neg 3\nand more", "neg") in found


def test_a_file_a_class_and_a_line_a_text(tmp_path):
    (tmp_path / "rt-polarity.pos").write_bytes("caf\xe9 noir\nfine\x85 still the same line\n\n".encode("latin-1"))
    (tmp_path / "rt-polarity.neg").write_bytes(b"bad\r\nworse\n")
    (tmp_path / "README.txt").write_text("not a class")
    found, _ = both(tmp_path, files="rt-polarity.*", encoding="latin-1", test_size=2)
    assert found == [
        ("bad", "neg"),
        ("café noir", "pos"),
        ("fine\x85 still the same line", "pos"),
        ("worse", "neg"),
    ]
    with pytest.raises(InputError, match=r"rt-polarity\.pos is not utf-8: byte 0xe9 at offset 3"):
        labeled_text(str(tmp_path), files="rt-polarity.*")
    for name in ("spam", "ham"):
        (tmp_path / f"{name}.lines").write_text(f"{name} 1\n{name} 2\n")
    assert labeled_text(str(tmp_path), files="*.lines").classes == ["ham", "spam"]


def test_what_is_held_out_is_fixed_and_by_label(tmp_path):
    pairs = [(f"text {number}", "ab"[number % 4 == 0]) for number in range(200)]
    write_table(tmp_path / "a.csv", ["id", "text", "label"], ",", pairs=pairs)
    train, test = (labeled_text(str(tmp_path), split, files="a.csv") for split in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [120, 40]
    assert np.bincount(test.labels).tolist() == [30, 10]
    assert not set(rows(train)) & set(rows(test))
    assert rows(labeled_text(str(tmp_path), "test", files="a.csv")) == rows(test)
    assert rows(labeled_text(str(tmp_path), "test", files="a.csv", seed=1)) != rows(test)


def test_numbers_are_in_their_order(tmp_path):
    write_table(tmp_path / "a.csv", [], ",", pairs=[(f"t{n}", str(n)) for n in (10, 9, 1, 2, 10)])
    assert labeled_text(str(tmp_path), files="a.csv", text=1, label=2).classes == ["1", "2", "9", "10"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"files": "a.csv", "text": "body"}, r"a\.csv has no column 'body' but id, text, label: state text and label"),
        ({"files": "a.csv", "text": 1, "label": 3}, r"a\.csv line 1 has 3 columns, not the 4 needed"),
        ({"files": "none.csv"}, r"none\.csv holds no text file"),
        ({"files": "one.csv"}, r"has the texts of one class only \(pos\): a probe needs two"),
        ({"files": "empty.csv"}, r"empty\.csv has no column 'text' but no first line"),
        ({"files": "blank.csv"}, r"blank\.csv holds no text"),
        ({"files": "*.*"}, "leads to tables and to other files"),
        ({"files": "flat"}, r"flat has no class folders; where a file is a class, give a pattern"),
        ({"files": "a.csv", "split": "valid"}, "no split 'valid'"),
        ({"files": "a.csv", "test_size": 5}, "test_size=5 does not fit a set of 5"),
        ({"files": "a.csv", "encoding": "x"}, "no encoding 'x'"),
    ],
)
def test_wrong_input(tmp_path, options, line):
    header = ["id", "text", "label"]
    write_table(tmp_path / "a.csv", header, ",")
    write_table(tmp_path / "one.csv", header, ",", pairs=[("a", "pos"), ("b", "pos")])
    write_table(tmp_path / "blank.csv", header, ",", pairs=[(" ", "pos")])
    (tmp_path / "empty.csv").touch()
    (tmp_path / "b.txt").write_text("text")
    (tmp_path / "flat").mkdir()
    with pytest.raises(InputError, match=line) as caught:
        labeled_text(str(tmp_path), **{"split": "train", **options})
    assert "\n" not in str(caught.value)
