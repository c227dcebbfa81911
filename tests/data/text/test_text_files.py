import os

import numpy as np
import pytest

import ssl_lightning.data.text.text_files as module
from ssl_lightning.data.text.text_files import text_files
from ssl_lightning.errors import InputError


@pytest.fixture
def read(tmp_path):
    """``text_files`` of ``tmp_path/data`` as texts."""

    def documents(files="", **options):
        return list(text_files(str(tmp_path / "data"), files=files, cache=str(tmp_path / "cache"), **options).texts())

    (tmp_path / "data").mkdir()
    return documents


def write(folder, **texts):
    for name, text in texts.items():
        path = folder / "data" / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_a_file_a_pattern_and_a_folder(tmp_path, read):
    write(tmp_path, b_txt="second", a_txt="first", sub__c_md="third", sub__d_log="log", sub__deep__e_rst="fifth")
    write(tmp_path, **{"sub__.hidden__f_txt": "hidden", "blank_txt": " \n "})
    assert read("a.txt") == ["first"]
    assert read(str(tmp_path / "data" / "a.txt")) == ["first"]
    assert read("*.txt") == ["first", "second"]
    assert read("sub/*") == ["third", "log"]
    assert read("**/*.log") == ["log"]
    assert read("sub") == ["third", "fifth"]
    assert read() == ["first", "second", "third", "fifth"]


def test_a_root_with_brackets_is_no_pattern(tmp_path):
    (tmp_path / "a[b]").mkdir()
    (tmp_path / "a[b]/c.txt").write_text("text")
    corpus = text_files(str(tmp_path / "a[b]"), files="*.txt", cache=str(tmp_path / "cache"))
    assert list(corpus.texts()) == ["text"]


def test_blank_lines_lines_and_separators(tmp_path, read):
    write(tmp_path, a_txt="one\nline\n\n \ntwo\r\n\r\nthree\n\n\n", b_txt="\n\nfour<|end|>\n<|end|>five")
    assert read("a.txt", split_on="blank_line") == ["one\nline", "two", "three"]
    assert read("a.txt", split_on="line") == ["one", "line", "two", "three"]
    assert read("b.txt", split_on="<|end|>") == ["four", "five"]
    assert read(split_on="blank_line") == ["one\nline", "two", "three", "four<|end|>\n<|end|>five"]
    assert read("a.txt") == ["one\nline\n\n \ntwo\r\n\r\nthree\n\n\n"]


def test_encodings(tmp_path, read):
    text = "Füße und Öl: größere Straßen über Äcker, dafür gibt es Wörter. " * 10
    write(tmp_path, a_txt=text.encode("latin-1"), b_txt=text.encode(), c_txt=text.encode("utf-16"))
    write(tmp_path, d_txt=text.encode("utf-8-sig"))
    assert read("a.txt", encoding="latin-1") == [text]
    assert read("c.txt", encoding="UTF-16") == [text]
    assert read("d.txt") == read("d.txt", encoding="utf-8-sig") == [text]
    assert read(encoding="detect") == [text] * 4
    with pytest.raises(InputError, match=r"a\.txt is not utf-8: byte 0xfc at offset 1; "):
        read()
    with pytest.raises(InputError, match=r"c\.txt is utf-16-le, which can only be one document a file"):
        read("c.txt", encoding="utf-16", split_on="line")
    with pytest.raises(InputError, match="no encoding 'klingon'"):
        read(encoding="klingon")


def test_a_bad_byte_behind_a_mark_has_its_place_in_the_file(tmp_path, read):
    write(tmp_path, a_txt=b"\xef\xbb\xbfgood\n\nbad \xff")
    with pytest.raises(InputError, match="byte 0xff at offset 13;"):
        read("a.txt", split_on="blank_line")


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


def test_files_that_did_not_change_are_not_read_again(tmp_path, read, monkeypatch):
    write(tmp_path, a_txt="one\n\ntwo")
    first = read("a.txt", split_on="blank_line")

    def fail(file):
        raise AssertionError(file)

    monkeypatch.setattr(module, "_mapped", fail)
    assert read("a.txt", split_on="blank_line") == first == ["one", "two"]
    with pytest.raises(AssertionError):
        read("a.txt", split_on="line")


def test_a_damaged_or_unwritable_note_is_no_obstacle(tmp_path, read):
    write(tmp_path, a_txt="one")
    assert read() == ["one"]
    for note in (tmp_path / "cache/text-index").iterdir():
        note.write_bytes(b"half of it")
    assert read() == ["one"]
    (tmp_path / "file").touch()
    assert list(text_files(str(tmp_path / "data"), cache=str(tmp_path / "file")).texts()) == ["one"]


def test_many_documents_in_files_of_one_corpus(tmp_path, read):
    rng = np.random.default_rng(0)
    documents = [[f"{file} {line} " + "word " * int(rng.integers(1, 9)) for line in range(50)] for file in range(4)]
    write(tmp_path, **{f"{file}_txt": "\n".join(lines) for file, lines in enumerate(documents)})
    assert read(split_on="line") == [line for lines in documents for line in lines]


@pytest.mark.parametrize(
    ("files", "options", "line"),
    [
        ("none.txt", {}, r"data/none\.txt holds no text file: data\.root and data\.source\.files must lead to"),
        ("empty", {}, r"empty holds no text file: looked for \.md \.rst \.text \.txt at any depth"),
        ("blank.txt", {}, r"blank\.txt holds no text: nothing but space in 1 files"),
        ("zero.txt", {}, r"zero\.txt holds no text"),
        ("a.txt", {"split_on": ""}, r"split_on is empty: choose blank_line, line"),
        ("a.txt", {"split": "test"}, "no split 'test': give a labeled set as data.probe"),
    ],
)
def test_wrong_input(tmp_path, read, files, options, line):
    write(tmp_path, a_txt="text", blank_txt=" \n", zero_txt="")
    (tmp_path / "data/empty").mkdir()
    with pytest.raises(InputError, match=line) as caught:
        read(files, **options)
    assert "\n" not in str(caught.value)
