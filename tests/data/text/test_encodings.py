import codecs

import pytest

from ssl_lightning.data.text.encodings import detect, without_mark
from ssl_lightning.errors import InputError

GERMAN = "Füße, Öl und größere Straßen über Äcker: dafür gibt es schöne Wörter. " * 20


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252"])
def test_detect(tmp_path, encoding):
    data = GERMAN.encode(encoding)
    name, begin = detect(data, tmp_path / "a.txt")
    assert data[begin:].decode(name) == GERMAN


def test_utf8_is_seen_across_the_parts_in_which_it_is_read(tmp_path):
    data = b"x" + "é".encode() * 2**18
    assert detect(data, tmp_path) == ("utf-8", 0)
    assert detect(b"plain", tmp_path) == ("utf-8", 0)
    assert detect(b"", tmp_path) == ("utf-8", 0)


def test_a_mark_tells_the_byte_order():
    assert without_mark(codecs.BOM_UTF8 + b"x", "utf-8") == ("utf-8", 3)
    assert without_mark("x".encode("utf-16"), "utf-16")[1] == 2
    assert without_mark(codecs.BOM_UTF16_BE + b"\0x", "utf-16") == ("utf-16-be", 2)
    assert without_mark(codecs.BOM_UTF32_LE, "utf-16") != ("utf-32-le", 4)
    assert without_mark(b"x", "utf-8") == ("utf-8", 0)
    assert without_mark(codecs.BOM_UTF8, "latin-1") == ("iso8859-1", 0) or without_mark(b"", "latin-1")[1] == 0


def test_what_is_no_text_is_told(tmp_path):
    with pytest.raises(InputError, match=r"a\.bin is in no encoding that can be detected: state it"):
        detect(bytes(range(256)) * 50, tmp_path / "a.bin")
