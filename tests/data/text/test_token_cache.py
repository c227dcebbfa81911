import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssl_lightning.data.text import corpus as corpus_module
from ssl_lightning.data.text import token_cache
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.token_cache import tokenize_corpus
from ssl_lightning.data.text.tokenizers import bpe, byte, char
from ssl_lightning.errors import InputError

TEXTS = [f"Dökument {number}: " + "some wörds, numbered " * (number % 7) + "\n" for number in range(60)]


@pytest.fixture(scope="module")
def byte_pairs():
    return bpe(TEXTS, 300)


def documents(found):
    return [found[0][np.arange(start, end)].tolist() for start, end in itertools.pairwise(found[1])]


def test_tokens_of_every_document(tmp_path, byte_pairs):
    found = tokenize_corpus(Corpus.from_texts(TEXTS), byte_pairs, tmp_path)
    assert documents(found) == [byte_pairs.encode(text) for text in TEXTS]
    assert found[0].dtype == np.uint16


def test_long_documents_in_pieces_and_small_tasks_give_the_same(tmp_path, monkeypatch, byte_pairs):
    text = "".join(TEXTS)
    corpus = Corpus.from_texts([text, TEXTS[6]])
    monkeypatch.setattr(corpus_module, "PIECE", corpus_module.pieces_of(200))
    monkeypatch.setattr(token_cache, "TASK", 3)
    found = tokenize_corpus(corpus, byte_pairs, tmp_path)
    assert documents(found) == [byte_pairs.encode(text), byte_pairs.encode(TEXTS[6])]
    assert isinstance(found[0].base, np.memmap)


def test_large_vocabularies_take_four_bytes(tmp_path):
    tokenizer = char(["".join(map(chr, range(0x10000, 0x21000)))])
    assert tokenizer.vocab_size > 2**16
    found = tokenize_corpus(Corpus.from_texts(["a\U00020fff"]), tokenizer, tmp_path)
    assert found[0].dtype == np.uint32
    assert documents(found) == [[tokenizer.inner.unk_token_id, tokenizer.vocab_size - 1]]


def test_a_cache_is_found_by_content_and_tokenizer(tmp_path, byte_pairs, capfd):
    tokenize_corpus(Corpus.from_texts(TEXTS), byte_pairs, tmp_path)
    assert "tokenizing" in capfd.readouterr().err
    tokenize_corpus(Corpus.from_texts(TEXTS), byte_pairs, tmp_path)
    assert "tokenizing" not in capfd.readouterr().err
    tokenize_corpus(Corpus.from_texts(TEXTS[:-1]), byte_pairs, tmp_path)
    tokenize_corpus(Corpus.from_texts(TEXTS), byte(()), tmp_path)
    assert len([path for path in (tmp_path / "tokens").iterdir() if path.is_dir()]) == 3


@pytest.mark.parametrize("damage", ["values.bin", "offsets.npy", "notes.json"])
@pytest.mark.parametrize("how", ["short", "gone"])
def test_a_damaged_cache_is_told(tmp_path, byte_pairs, damage, how):
    tokenize_corpus(Corpus.from_texts(TEXTS), byte_pairs, tmp_path)
    (file,) = tmp_path.glob(f"tokens/*/{damage}")
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:1])
    with pytest.raises(InputError, match=r"the cache .* is damaged: remove it, and it is built again \(.+\)"):
        tokenize_corpus(Corpus.from_texts(TEXTS), byte_pairs, tmp_path)


def test_two_processes_that_build_the_cache_at_once(tmp_path):
    code = """
import json, sys
from pathlib import Path
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.token_cache import tokenize_corpus
from ssl_lightning.data.text.tokenizers import byte
corpus = Corpus.from_texts([f"document {number}" for number in range(2000)])
found = tokenize_corpus(corpus, byte(()), Path(sys.argv[1]))
print(json.dumps([len(found[0]), int(found[1][-1])]))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment, **pipes) for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in running]
    total = sum(len(f"document {number}") for number in range(2000))
    assert [json.loads(out) for out, _ in said] == [[total] * 2] * 2
    assert sum("tokenizing" in err for _, err in said) == 1


def test_texts_without_tokens(tmp_path):
    found = tokenize_corpus(Corpus.from_texts(["", ""]), byte(()), tmp_path)
    assert (len(found[0]), found[1].tolist()) == (0, [0, 0, 0])


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path, byte_pairs):
    """Killed in the middle: the folder that it was writing stays, and holds a part of the tokens."""
    code = """
import os, signal, sys
from pathlib import Path
from ssl_lightning.data.text import token_cache
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.tokenizers import byte
token_cache.TASK = 1
tokenizer = byte(())
real, calls = tokenizer.encode_batch, []
def encode(texts):
    calls.append(texts)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(texts)
tokenizer.encode_batch = encode
token_cache.tokenize_corpus(Corpus.from_texts(["text " * 20] * 20), tokenizer, Path(sys.argv[1]))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = [path for path in (tmp_path / "tokens").iterdir() if path.is_dir()]
    assert left.name.startswith(".")
    corpus = Corpus.from_texts(["text " * 20] * 20)
    assert len(tokenize_corpus(corpus, byte(()), tmp_path)[0]) == corpus.sizes.sum()
    (kept,) = [path for path in (tmp_path / "tokens").iterdir() if path.is_dir()]
    assert f".{kept.name}." in f"{left.name}."
