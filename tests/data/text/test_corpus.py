from pathlib import Path

import numpy as np
import pytest

from ssl_lightning.data.text import corpus as module
from ssl_lightning.data.text.corpus import Corpus, canonical
from ssl_lightning.errors import InputError

WORDS = ["über", "naïve", "日本語", "emoji😀", "plain", "a.b", "x", "\n", "\r\n", "tab\there"]


def random_text(seed, words=400):
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice(WORDS, words))


def of_file(path, text, encoding):
    path.write_bytes(text.encode(encoding))
    size = np.array([path.stat().st_size])
    return Corpus((path,), (canonical(encoding),), np.zeros(1, np.int32), 0 * size, size, "content")


def text_of(corpus):
    return ["".join(p.text() for p in corpus.pieces() if p.document == d) for d in range(len(corpus))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030"])
@pytest.mark.parametrize("seed", range(3))
def test_pieces_are_the_document(tmp_path, monkeypatch, encoding, seed):
    monkeypatch.setattr(module, "PIECE", 300)
    monkeypatch.setattr(module, "NEAR", 40)
    text = random_text(seed)
    corpus = of_file(tmp_path / "a.txt", text, encoding)
    pieces = list(corpus.pieces())
    assert "".join(piece.text() for piece in pieces) == text
    assert all(piece.end - piece.start <= 300 for piece in pieces) or encoding == "utf-16"
    assert len(pieces) > 5 or encoding == "utf-16"
    # cut where no pre-tokenizer would join: before a space, or behind a line break
    for piece in pieces[1:] if encoding == "utf-8" else ():
        assert (
            text.encode()[piece.start : piece.start + 1] == b" "
            or text.encode()[piece.start - 1 : piece.start] == b"\n"
        )


@pytest.mark.parametrize("text", ["é" * 1000, "日" * 700])
def test_text_without_a_space_is_cut_between_characters(tmp_path, monkeypatch, text):
    monkeypatch.setattr(module, "PIECE", 301)
    monkeypatch.setattr(module, "NEAR", 40)
    corpus = of_file(tmp_path / "a.txt", text, "utf-8")
    assert text_of(corpus) == [text]
    assert sum(1 for _ in corpus.pieces()) > 5


def test_documents_in_memory():
    texts = ["first", "zweiter: ä", "", "half \ud800 character"]
    corpus = Corpus.from_texts(texts, np.array([0, 1, 0, 1]), ["a", "b"])
    assert text_of(corpus) == ["first", "zweiter: ä", "", "half ? character"]
    assert corpus.sizes.tolist() == [5, 11, 0, 16]
    part = corpus.subset(np.array([False, True, False, True]))
    assert text_of(part) == ["zweiter: ä", "half ? character"]
    assert part.labels.tolist() == [1, 1]


def test_the_key_is_that_of_the_content_and_the_borders(tmp_path):
    corpus = Corpus.from_texts(["ab", "c"])
    assert corpus.key == Corpus.from_texts(["ab", "c"]).key
    assert len({corpus.key, *(Corpus.from_texts(texts).key for texts in (["a", "bc"], ["abc"], ["ab", "d"]))}) == 4
    here, there = (of_file(tmp_path / name, "text", "utf-8") for name in ("here", "there"))
    assert here.key == there.key


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "latin-1", "shift_jis"])
def test_a_cut_parts_the_text_at_a_character(tmp_path, encoding):
    text = {"latin-1": "füür " * 20, "shift_jis": "日本a語 " * 20}.get(encoding, "aé日😀 " * 20)
    corpus = of_file(tmp_path / "a.txt", text, encoding)
    size = int(corpus.sizes.sum())
    for first in range(1, size):
        parted, behind = corpus.cut(first)
        assert "".join(text_of(parted)) == text
        assert len(parted) <= 2
        assert first - 4 < parted.sizes[~behind].sum() <= first
        assert behind.tolist() in ([False, True], [True])


def test_a_cut_between_documents_parts_none():
    corpus = Corpus.from_texts(["aaaa", "bb", "cccc"], np.array([0, 1, 2]), list("abc"))
    parted, behind = corpus.cut(6)
    assert (text_of(parted), behind.tolist()) == (["aaaa", "bb", "cccc"], [False, False, True])
    parted, behind = corpus.cut(5)
    assert (text_of(parted), behind.tolist()) == (["aaaa", "b", "b", "cccc"], [False, False, True, True])
    assert parted.labels.tolist() == [0, 1, 1, 2]
    assert corpus.cut(10)[1].tolist() == [False] * 3
    assert corpus.cut(0)[1].tolist() == [True] * 3


def test_a_part_of_the_texts_is_spread_over_all():
    corpus = Corpus.from_texts([f"{number:04}" for number in range(100)])
    assert list(corpus.texts()) == list(corpus.texts(400)) == text_of(corpus)
    some = list(corpus.texts(40))
    assert len(some) == 10
    assert (some[0], some[-1]) == ("0000", "0099")


def test_a_bad_byte_is_told_with_its_file_and_offset(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 300)
    monkeypatch.setattr(module, "NEAR", 40)
    corpus = of_file(tmp_path / "a.txt", "word " * 200, "utf-8")
    data = bytearray((tmp_path / "a.txt").read_bytes())
    data[777] = 0xFF
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.txt is not utf-8: byte 0xff at offset 777; .*encoding=latin-1"):
        text_of(corpus)


def test_a_file_that_went_is_told(tmp_path):
    corpus = of_file(tmp_path / "a.txt", "text", "utf-8")
    Path(tmp_path / "a.txt").unlink()
    with pytest.raises(InputError, match=r"a\.txt cannot be read \(No such file"):
        text_of(corpus)


@pytest.mark.parametrize("name", ["utf-9", "rot13", "base64"])
def test_unknown_encodings(name):
    with pytest.raises(InputError, match=f"no encoding '{name}'"):
        canonical(name)
