import itertools

import numpy as np
import pytest

from ssl_lightning.data.text import corpus as module
from ssl_lightning.data.text.corpus import Corpus, cached_corpus
from ssl_lightning.errors import InputError

WORDS = ["über", "naïve", "日本語", "emoji😀", "plain", "a.b", "x", "\n", "\r\n", "tab\there"]


def random_text(seed, words=400):
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice(WORDS, words))


def text_of(corpus):
    found = [""] * len(corpus)
    for document, piece in corpus.pieces():
        found[document] += piece
    assert found == list(corpus.texts())
    return found


def cache(folder, documents):
    """A corpus of a source whose status never changes."""
    return cached_corpus(str(folder), "here", documents, lambda: "", ())


@pytest.mark.parametrize("seed", range(3))
def test_pieces_are_the_document(monkeypatch, seed):
    monkeypatch.setattr(module, "PIECE", module.pieces_of(300))
    text = random_text(seed)
    corpus = Corpus.from_texts(["first", text])
    pieces = [piece for document, piece in corpus.pieces() if document == 1]
    assert text_of(corpus) == ["first", text]
    assert all(len(piece) <= 300 for piece in pieces)
    assert len(pieces) > 5
    # cut where no pre-tokenizer would join: before a space, or behind a line break
    for before, after in itertools.pairwise(pieces):
        assert after.startswith(" ") or before.endswith("\n")


@pytest.mark.parametrize("text", ["é" * 1000, "日" * 700])
def test_text_without_a_space_is_cut_between_characters(monkeypatch, text):
    monkeypatch.setattr(module, "PIECE", module.pieces_of(101))
    corpus = Corpus.from_texts([text])
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
    stored = cache(tmp_path, lambda: iter([("ab", None), ("c", None)]))
    assert stored.key == corpus.key


def test_a_cut_parts_the_text_at_a_character():
    text = "aé日😀 " * 20
    corpus = Corpus.from_texts([text])
    for first in range(1, len(text.encode())):
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
    assert text_of(corpus.subset(np.array([2, 0])).cut(2)[0]) == ["cc", "cc", "aaaa"]


def test_a_part_of_the_texts_is_spread_over_all():
    corpus = Corpus.from_texts([f"{number:04}" for number in range(100)])
    assert list(corpus.spread(400).texts()) == list(corpus.texts())
    assert list(corpus.spread(40).texts()) == [f"{number:04}" for number in range(0, 100, 10)]
    assert len(corpus.spread(1)) == 1


def test_a_cached_corpus_is_written_once_without_blank_documents(tmp_path):
    asked = []

    def documents():
        asked.append(1)
        yield from [("first", "b"), (" \n", "blank"), ("sécond", "a")]

    for _ in range(2):
        corpus = cache(tmp_path, documents)
        assert (text_of(corpus), corpus.classes, corpus.labels.tolist()) == (["first", "sécond"], ["a", "b"], [1, 0])
    assert asked == [1]


@pytest.mark.parametrize("damage", ["text.utf8", "documents.npy", "labels.json"])
@pytest.mark.parametrize("how", ["short", "gone"])
def test_a_damaged_cache_is_told(tmp_path, damage, how):
    def read():
        return cache(tmp_path, lambda: iter([("some text", "a label")]))

    read()
    (file,) = tmp_path.glob(f"text/*/{damage}")
    file.unlink() if how == "gone" else file.write_bytes(file.read_bytes()[:5])
    with pytest.raises(InputError, match=r"the cache .*text/.* is damaged: remove it, and it is built again \(.+\)"):
        read()


def test_what_fails_while_it_is_read_leaves_no_cache(tmp_path):
    def documents():
        yield "good", None
        raise InputError("bad")

    with pytest.raises(InputError, match="bad"):
        cache(tmp_path, documents)
    with pytest.raises(InputError, match="here holds no text: nothing but space"):
        cache(tmp_path, lambda: iter([(" ", None)]))
    assert not [path for path in (tmp_path / "text").iterdir() if path.is_dir()]
