import itertools
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssl_lightning.data.text import corpus as corpus_module
from ssl_lightning.data.text import token_cache
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.text_files import text_files
from ssl_lightning.data.text.token_cache import Shards, tokenized
from ssl_lightning.data.text.tokenizers import bpe, byte, char
from ssl_lightning.errors import InputError

TEXTS = [f"Dökument {number}: " + "some wörds, numbered " * (number % 7) + "\n" for number in range(60)]


@pytest.fixture(scope="module")
def byte_pairs():
    return bpe(TEXTS, 300)


def documents(found):
    return [found.tokens[np.arange(start, end)].tolist() for start, end in itertools.pairwise(found.offsets)]


def test_tokens_and_bytes_of_every_document(tmp_path, byte_pairs):
    found = tokenized(Corpus.from_texts(TEXTS), byte_pairs, tmp_path)
    assert documents(found) == [byte_pairs.encode(text) for text in TEXTS]
    assert found.text_bytes.tolist() == [len(text.encode()) for text in TEXTS]
    assert found.tokens.dtype == np.uint16
    assert [byte_pairs.token_bytes[ids].sum() for ids in documents(found)] == found.text_bytes.tolist()


def test_long_documents_in_pieces_small_shards_and_processes_give_the_same(tmp_path, monkeypatch, byte_pairs):
    text = "".join(TEXTS)
    (tmp_path / "a.txt").write_text(text, encoding="latin-1")
    (tmp_path / "b.txt").write_text(TEXTS[6], encoding="latin-1")
    corpus = text_files(str(tmp_path), encoding="latin-1", cache=str(tmp_path / "cache"))
    for module, name, value in (
        (corpus_module, "PIECE", 200),
        (corpus_module, "NEAR", 60),
        (token_cache, "TASK", 500),
        (token_cache, "SHARD", 700),
        (token_cache, "ALONE", 0),
    ):
        monkeypatch.setattr(module, name, value)
    for workers in (1, 2):
        found = tokenized(corpus, byte_pairs, tmp_path / f"cache{workers}", workers)
        assert documents(found) == [byte_pairs.encode(text), byte_pairs.encode(TEXTS[6])]
        assert found.text_bytes.tolist() == [len(text.encode()), len(TEXTS[6].encode())]
        assert len(found.tokens.files) > 2
    positions = np.random.default_rng(0).integers(0, len(found.tokens), (30, 8))
    everything = found.tokens[np.arange(len(found.tokens))]
    assert (found.tokens[positions] == everything[positions]).all()
    assert (pickle.loads(pickle.dumps(found.tokens))[positions] == everything[positions]).all()


def test_a_bad_byte_in_another_process_is_told_in_one_line(tmp_path, monkeypatch, byte_pairs):
    monkeypatch.setattr(token_cache, "ALONE", 0)
    (tmp_path / "a.txt").write_bytes(b"good " * 100 + b"\xff")
    corpus = text_files(str(tmp_path), cache=str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"a\.txt is not utf-8: byte 0xff at offset 500; [^\n]*$"):
        tokenized(corpus, byte_pairs, tmp_path, workers=2)
    assert not [path for path in (tmp_path / "tokens").iterdir() if path.is_dir()]


def test_large_vocabularies_take_four_bytes(tmp_path):
    tokenizer = char(["".join(map(chr, range(0x10000, 0x21000)))])
    assert tokenizer.vocab_size > 2**16
    found = tokenized(Corpus.from_texts(["a\U00020fff"]), tokenizer, tmp_path)
    assert found.tokens.dtype == np.uint32
    assert documents(found) == [[tokenizer.unk_id, tokenizer.vocab_size - 1]]


def test_a_cache_is_found_by_content_and_tokenizer(tmp_path, byte_pairs, capfd):
    tokenized(Corpus.from_texts(TEXTS), byte_pairs, tmp_path)
    assert "tokenizing" in capfd.readouterr().err
    tokenized(Corpus.from_texts(TEXTS), byte_pairs, tmp_path)
    assert "tokenizing" not in capfd.readouterr().err
    tokenized(Corpus.from_texts(TEXTS[:-1]), byte_pairs, tmp_path)
    tokenized(Corpus.from_texts(TEXTS), byte(()), tmp_path)
    assert len([path for path in (tmp_path / "tokens").iterdir() if path.is_dir()]) == 3


@pytest.mark.parametrize("damage", ["tokens-00000.bin", "offsets.npy", "bytes.npy", "tokens.json"])
@pytest.mark.parametrize("how", ["short", "gone"])
def test_a_damaged_cache_is_told(tmp_path, byte_pairs, damage, how):
    tokenized(Corpus.from_texts(TEXTS), byte_pairs, tmp_path)
    (file,) = tmp_path.glob(f"tokens/*/{damage}")
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:9])
    with pytest.raises(InputError, match=r"the cache .* is damaged \(.*\): remove it, and it is made anew"):
        tokenized(Corpus.from_texts(TEXTS), byte_pairs, tmp_path)


def test_two_processes_that_build_the_cache_at_once(tmp_path):
    code = """
import json, sys
from pathlib import Path
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.token_cache import tokenized
from ssl_lightning.data.text.tokenizers import byte
found = tokenized(Corpus.from_texts([f"document {number}" for number in range(2000)]), byte(()), Path(sys.argv[1]))
print(json.dumps([len(found.tokens), int(found.offsets[-1]), int(found.text_bytes.sum())]))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment, **pipes) for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in running]
    total = sum(len(f"document {number}") for number in range(2000))
    assert [json.loads(out) for out, _ in said] == [[total] * 3] * 2
    assert sum("tokenizing" in err for _, err in said) == 1


def test_shards_are_one_array(tmp_path):
    tokens = np.arange(1000, dtype=np.uint16)
    files = []
    for start, end in ((0, 1), (1, 400), (400, 1000)):
        files.append(tmp_path / f"{start}.bin")
        tokens[start:end].tofile(files[-1])
    shards = Shards(files, "uint16")
    assert len(shards) == 1000
    positions = np.random.default_rng(0).integers(0, 1000, (20, 30))
    assert (shards[positions] == positions).all()
    assert (Shards(files[2:], "uint16")[np.arange(5)] == np.arange(400, 405)).all()
