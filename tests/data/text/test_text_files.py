import bz2
import csv
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from ssl_lightning.data.text import text_files as module
from ssl_lightning.data.text.text_files import text_files
from ssl_lightning.data.text.token_cache import tokenize_corpus
from ssl_lightning.data.text.tokenizers import byte
from ssl_lightning.errors import InputError

PACKAGE = Path(__file__).parents[3]
GERMAN = "Füße, Öl und größere Straßen über Äcker: dafür gibt es schöne Wörter. " * 20
ROWS = [('say "no", twice', "neg"), ("two\nlines", "pos"), ("naïve", "neg"), ("null", "pos"), ("7", "pos")]


@pytest.fixture
def open_text(tmp_path):
    """`text_files` of `tmp_path/data`."""
    (tmp_path / "data").mkdir()
    return lambda files="", **options: text_files(
        str(tmp_path / "data"), files=files, cache=str(tmp_path / "cache"), **options
    )


@pytest.fixture
def read(open_text):
    """Its documents."""
    return lambda files="", **options: list(open_text(files, **options).texts())


@pytest.fixture
def write(tmp_path):
    """Files of `tmp_path/data`; in names `__` is a slash and `_` a dot."""

    def texts(**given):
        for name, text in given.items():
            path = tmp_path / "data" / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return texts


def table(suffix, header=("id", "text", "label"), rows=ROWS):
    """The bytes of a table of rows with a number before them."""
    records = [dict(zip(header, (7, *row), strict=True)) for row in rows]
    if suffix == "jsonl":
        return "\n".join(map(json.dumps, records)).encode()
    if suffix == "json":
        return json.dumps(records, indent=1).encode()
    if suffix == "parquet":
        sink = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), sink)
        return sink.getvalue()
    text = io.StringIO()
    csv.writer(text, delimiter="\t" if suffix == "tsv" else ",").writerows([header, *(r.values() for r in records)])
    return text.getvalue().encode()


def zipped(data):
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        archive.writestr("a.txt", data)
    return packed.getvalue()


def zstd(data):
    return pyarrow.compress(data, codec="zstd", asbytes=True)


def test_a_file_a_pattern_and_a_folder(tmp_path, read, write):
    write(b_txt="second", a_txt="first", sub__c_md="third", sub__deep__e_rst="fifth", blank_txt=" \n ")
    write(**{"sub__.hidden__f_txt": "hidden"})
    assert read("a.txt") == read(str(tmp_path / "data" / "a.txt")) == ["first"]
    assert read("*.txt") == ["first", "second"]
    assert read("sub") == ["third", "fifth"]
    assert read() == ["first", "second", "third", "fifth"]
    write(sub__d_log="log")
    assert read("sub/*") == ["third", "log"]
    assert read("**/*.log") == ["log"]


def test_a_folder_of_tables(read, write):
    write(a_csv=table("csv"), sub__b_jsonl_gz=gzip.compress(table("jsonl")))
    assert read() == [text for text, _ in ROWS] * 2


@pytest.mark.parametrize("folder", ["a[b]", "with space", "ü"])
def test_a_root_is_no_pattern(tmp_path, folder):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "c.txt").write_text("text")
    (tmp_path / folder / "c.csv").write_bytes(table("csv"))
    options = {"cache": str(tmp_path / "cache")}
    assert list(text_files(str(tmp_path / folder), files="*.txt", **options).texts()) == ["text"]
    assert len(text_files(str(tmp_path / folder), files="*.csv", **options)) == len(ROWS)


def test_blank_lines_lines_and_separators(read, write):
    whole = "one\nline\n\n \ntwö\r\n\r\nthree\n\n\n"
    write(a_txt=whole, b_txt="\n\nfour<|end|>\n<|end|>five")
    assert read("a.txt", split_on="blank_line") == ["one\nline", "twö", "three"]
    assert read("a.txt", split_on="line") == ["one", "line", "twö", "three"]
    assert read("b.txt", split_on="<|end|>") == ["four", "five"]
    assert read(split_on="blank_line") == ["one\nline", "twö", "three", "four<|end|>\n<|end|>five"]
    assert read("a.txt") == read("a.txt", split_on="file") == [whole]


def test_many_documents_in_files_of_one_corpus(read, write):
    rng = np.random.default_rng(0)
    documents = [[f"{file} {line}" + " word" * int(rng.integers(1, 9)) for line in range(50)] for file in range(4)]
    write(**{f"{file}_txt": "\n".join(lines) for file, lines in enumerate(documents)})
    assert read(split_on="line") == [line for lines in documents for line in lines]


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("zst", zstd)])
def test_compressed_text(tmp_path, read, write, ending, pack):
    write(**{f"a_txt_{ending}": pack(GERMAN.encode("latin-1"))})
    assert read(encoding="latin-1") == read(encoding="utf-8 latin-1") == [GERMAN]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "ndjson", "parquet"])
@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_tables(read, open_text, write, suffix, pack):
    ending = suffix if pack is None else f"{suffix}_gz"
    kind = "jsonl" if suffix == "ndjson" else suffix
    if kind == "parquet" and pack is not None:
        pytest.skip("parquet is compressed inside")
    pack = pack or bytes
    write(**{f"a_{ending}": pack(table(kind)), f"b_{ending}": pack(table(kind, ("id", "body", "class")))})
    name = ending.replace("_", ".")
    assert read(f"a.{name}") == [text for text, _ in ROWS]
    assert read(f"b.{name}", column="body") == [text for text, _ in ROWS]
    parts = [open_text(f"a.{name}", label="label", split=split, test_size=2) for split in ("train", "test")]
    found = [
        (text, part.classes[label]) for part in parts for text, label in zip(part.texts(), part.labels, strict=True)
    ]
    assert sorted(found) == sorted(ROWS)
    assert len(parts[1]) == 2


def test_a_table_in_another_encoding(read, write):
    data = table("csv", rows=[(GERMAN, "a"), ("x", "b")]).decode().encode("latin-1")
    write(a_csv=data)
    assert read("a.csv", encoding="latin-1") == [GERMAN, "x"]
    with pytest.raises(InputError, match=r"a\.csv cannot be read \('utf-8' codec can't decode byte 0xfc"):
        read("a.csv")


def test_encodings(read, write):
    write(a_txt=GERMAN.encode("latin-1"), b_txt=GERMAN.encode(), c_txt=GERMAN.encode("utf-16"))
    write(d_txt=GERMAN.encode("utf-8-sig"), e_txt=GERMAN.encode("utf-32"))
    assert read("a.txt", encoding="latin-1") == [GERMAN]
    assert read("c.txt", encoding="UTF-16") == [GERMAN]
    assert read("c.txt", encoding="utf-16", split_on="line") == [GERMAN.strip()]
    assert read("d.txt") == read("d.txt", encoding="utf-8-sig") == [GERMAN]
    assert read(encoding="utf-8 utf-32 utf-16 latin-1") == [GERMAN] * 5
    with pytest.raises(InputError, match=r"a\.txt is not ascii or utf-8 text \(.*0xfc in position 1"):
        read("a.txt", encoding="ascii utf-8")
    with pytest.raises(InputError, match=r"a\.txt is not utf-8 text \(.*0xfc in position 1.*encoding=latin-1"):
        read()
    with pytest.raises(InputError, match=r"klingon text \(unknown encoding: klingon"):
        read(encoding="klingon")


@pytest.mark.parametrize(
    ("data", "offset"), [(b"good\n\nbad \xff", 10), (b"\xef\xbb\xbfgood \xc3", 8), (b"\xc3\xa9\xe2\x82x", 2)]
)
def test_a_bad_byte_has_its_offset_in_the_file(read, write, data, offset):
    write(a_txt=data)
    with pytest.raises(InputError, match=rf"a\.txt is not utf-8 text \(.* byte.* in position {offset}"):
        read("a.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-8 latin-1"])
@pytest.mark.parametrize("pack", [gzip.compress, zstd, bz2.compress, lzma.compress, zipped, None])
def test_binary_files_are_told_as_what_they_are(read, write, encoding, pack):
    write(a_txt=pack(GERMAN.encode()) if pack else table("parquet"))
    with pytest.raises(InputError, match=r"a\.txt is not .* text \(.*byte.*\): leave it out"):
        read("a.txt", encoding=encoding)


def test_a_byte_of_zero_after_text_is_told(read, write):
    write(a_txt=b"text" * 5000 + b"\0")
    with pytest.raises(InputError, match=r"is not utf-8 text \(byte 0 at offset 20000\): leave it out"):
        read("a.txt")


def test_utf16_without_its_encoding_is_refused(read, write):
    write(a_txt=GERMAN.encode("utf-16"))
    with pytest.raises(InputError, match=r"a\.txt is not utf-8 or latin-1 text \(byte 0 .*, or state its encoding"):
        read(encoding="utf-8 latin-1")


def test_the_key_is_of_the_content_and_not_of_the_place(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("text\n\nmore")
    cache = str(tmp_path / "cache")
    keys = [text_files(str(tmp_path / name), cache=cache).key for name in ("here", "there")]
    assert keys[0] == keys[1] != text_files(str(tmp_path / "here"), split_on="blank_line", cache=cache).key
    (tmp_path / "here/a.txt").write_text("text\n\nmoRe")
    os.utime(tmp_path / "here/a.txt", ns=(1, 1))
    assert text_files(str(tmp_path / "here"), cache=cache).key != keys[0]


def test_files_that_did_not_change_are_not_read_again(read, write, monkeypatch):
    write(a_txt="one\n\ntwo")
    first = read("a.txt", split_on="blank_line")

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(module, "read_text", fail)
    assert read("a.txt", split_on="blank_line") == first == ["one", "two"]
    with pytest.raises(AssertionError):
        read("a.txt", split_on="line")


def test_text_that_changes_before_it_is_tokenized_does_not_poison_the_cache(tmp_path, open_text, write):
    """Tokens are those of the text whose digest is their key, whatever has become of the file since."""
    write(a_txt="the first text")
    corpus = open_text()
    write(a_txt="another one...")
    os.utime(tmp_path / "data/a.txt", ns=(1, 1))
    tokenizer = byte(())
    for given in (corpus, open_text()):
        found = tokenize_corpus(given, tokenizer, tmp_path / "cache")
        assert tokenizer.decode(found[0]) == "".join(given.texts())
    write(a_txt="the first text")
    os.utime(tmp_path / "data/a.txt", ns=(2, 2))
    assert open_text().key == corpus.key
    assert tokenizer.decode(tokenize_corpus(open_text(), tokenizer, tmp_path / "cache")[0]) == "the first text"


def test_files_that_change_while_they_are_read_leave_no_cache(tmp_path, open_text, write, monkeypatch):
    write(a_txt="one", b_txt="two")
    real = module.read_text

    def change(file, encodings):
        write(a_txt="longer than before")
        return real(file, encodings)

    monkeypatch.setattr(module, "read_text", change)
    with pytest.raises(InputError, match="data changed while they were read: start again when they are complete"):
        open_text()
    assert not [path for path in (tmp_path / "cache/text").iterdir() if path.is_dir()]


def labeled_rows(corpus):
    return [(text, corpus.classes[label]) for text, label in zip(corpus.texts(), corpus.labels, strict=True)]


def both(open_text, **options):
    """The texts of train and test together, sorted, and how many are in test."""
    parts = [labeled_rows(open_text(split=split, label="label", **options)) for split in ("train", "test")]
    return sorted(parts[0] + parts[1]), len(parts[1])


def test_a_test_set_of_its_own(open_text, write):
    write(train_csv=table("csv"), test_csv=table("csv", rows=[("a", "pos"), ("b", "pos")]))
    options = {"files": "train.csv", "test_files": "test.csv", "label": "label"}
    assert labeled_rows(open_text(split="pretrain", **options)) == ROWS
    assert labeled_rows(open_text(split="test", **options)) == [("a", "pos"), ("b", "pos")]
    write(test_csv=table("csv", rows=[("a", "so-so")]))
    with pytest.raises(InputError, match=r"test\.csv has the label 'so-so', which the training set does not have"):
        open_text(split="test", **options)


def test_class_folders(open_text, write):
    for name in ("pos", "neg"):
        write(**{f"{name}__{number}_txt": f" {name} {number}\nand more" for number in range(5)})
        write(**{f"{name}__deep__x": f"{name} deep", f"{name}__.hidden": "no"})
    write(README="not a text")
    found, held = both(open_text, test_size=4)
    assert (len(found), held) == (12, 4)
    assert (" neg 3\nand more", "neg") in found
    assert ("pos deep", "pos") in found


def test_a_file_a_class_and_a_line_a_text(open_text, write, tmp_path):
    (tmp_path / "data/rt-polarity.pos").write_bytes("caf\xe9 noir\nfine\x85 still the same line\n\n".encode("latin-1"))
    (tmp_path / "data/rt-polarity.neg").write_bytes(b"bad\r\nworse \n")
    write(README_txt="not a class")
    found, _ = both(open_text, files="rt-polarity.*", encoding="latin-1", test_size=2)
    expected = [("bad", "neg"), ("café noir", "pos"), ("fine\x85 still the same line", "pos"), ("worse", "neg")]
    assert found == expected
    with pytest.raises(InputError, match=r"rt-polarity\.pos is not utf-8 text \(.* 0xe9 in position 3"):
        open_text("rt-polarity.*", label="label")
    for name in ("spam", "ham"):
        write(**{f"{name}_lines": f"{name} 1\n{name} 2\n"})
    assert open_text("*.lines", label="label").classes == ["ham", "spam"]


def test_what_is_held_out_is_fixed_and_by_label(open_text, write):
    write(a_csv=table("csv", rows=[(f"text {number}", "ab"[number % 4 == 0]) for number in range(200)]))
    train, test = (open_text("a.csv", label="label", split=split) for split in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [120, 40]
    assert np.bincount(test.labels).tolist() == [30, 10]
    assert not set(labeled_rows(train)) & set(labeled_rows(test))
    assert labeled_rows(open_text("a.csv", label="label", split="test")) == labeled_rows(test)
    assert labeled_rows(open_text("a.csv", label="label", split="test", seed=1)) != labeled_rows(test)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"files": "none.txt"}, r"data/none\.txt holds no text file: data\.root and data\.source\.files must lead to"),
        ({"files": "empty"}, r"empty holds no text file: .* a folder of \.csv .*, or a pattern"),
        ({"files": "blank.txt"}, r"blank\.txt holds no text: nothing but space"),
        ({"files": "zero.txt"}, r"zero\.txt holds no text"),
        ({"files": "a.txt", "split": "test"}, r"without labels has no test split: state data\.source\.label"),
        ({"files": "a.txt", "split": "valid"}, "no split 'valid': choose pretrain, train or test"),
        ({"files": "a.*"}, r"a\.\* leads to tables, whose rows are documents: leave out other files"),
        ({"files": "a.csv", "split_on": "line"}, "whose rows are documents: leave out .* split_on"),
        (
            {"files": "a.csv", "column": "body"},
            r"a\.csv has no column 'body' but id, text, label: name it in data\.source",
        ),
        ({"files": "a.jsonl", "column": "body"}, r"a\.jsonl has no column 'body' but id, text, label"),
        (
            {"files": "a.jsonl", "column": "id"},
            r"a\.jsonl has no text in its column but int: state data\.source\.column",
        ),
        ({"files": "nothing.csv"}, r"nothing\.csv cannot be read \(No columns to parse from file\)"),
        ({"files": "broken.jsonl"}, r"broken\.jsonl cannot be read \(JSON parse error"),
        ({"files": "broken.txt.gz"}, r"broken\.txt\.gz cannot be read \(.*incorrect header"),
        ({"files": "one.csv", "label": "label"}, r"has the texts of one class only \(pos\): a probe needs two"),
        ({"files": "gap.csv", "label": "label"}, r"gap\.csv has a row without a label in its column 'label'"),
        (
            {"files": "flat", "label": "x"},
            r"flat holds no text file: .*; labels need a table, a folder of class folders, or",
        ),
        ({"files": "a.csv", "label": "label", "test_size": 5}, "test_size=5 leaves nothing of a set of 5"),
        ({"files": "a.csv", "encoding": "x"}, r"a\.csv cannot be read \(unknown encoding: x"),
        ({"files": "a.txt", "encoding": "rot13"}, r"a\.txt is not rot13 text \(.*not a text encoding"),
        ({"files": "a.txt", "encoding": ""}, r"a\.txt is not .*text \(unknown encoding"),
    ],
)
def test_wrong_input(tmp_path, open_text, write, options, line, capfd):
    write(a_txt="text", blank_txt=" \n", zero_txt="", flat__a_txt="text", nothing_csv="", a_csv=table("csv"))
    write(a_jsonl=table("jsonl"), broken_jsonl='{"text": "a"}\n{nonsense', broken_txt_gz=b"no gzip")
    write(one_csv=table("csv", rows=[("a", "pos"), ("b", "pos")]), gap_csv=table("csv", rows=[("a", "pos"), ("b", "")]))
    (tmp_path / "data/empty").mkdir()
    with pytest.raises(InputError, match=line) as caught:
        open_text(**options)
    assert "\n" not in str(caught.value)
    assert {text.split()[0] for text in capfd.readouterr().err.splitlines() if text} <= {"reading"}


def test_local_files_touch_neither_the_network_nor_the_library_s_own_cache(tmp_path, write):
    """In a process that dies of any connection, with a home of its own; the only words are those of our bar."""
    write_home = tmp_path / "home"
    write_home.mkdir()
    write(a_jsonl=table("jsonl"), b_csv=table("csv"))
    code = """
import socket, sys
def refuse(*_, **__): raise SystemExit("a connection")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from ssl_lightning.data.text.text_files import text_files
print(len(text_files(sys.argv[1])))
"""
    hidden = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "SSL_", "XDG_"))}
    environment = {**hidden, "HOME": str(write_home), "PYTHONPATH": str(PACKAGE)}
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.returncode) == (f"{2 * len(ROWS)}\n", 0), done.stderr
    assert all(line.startswith("reading text") for line in done.stderr.splitlines() if line.strip())
    assert [path.name for path in (write_home / ".cache").iterdir()] == ["ssl-lightning"]
