import subprocess
import sys

import pytest

from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.python_docs import python_docs
from ssl_lightning.errors import InputError


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return python_docs()


def test_reference_and_docstrings(corpus):
    texts = list(corpus.texts())
    assert 1000 < len(corpus) == len(texts)
    assert 1_000_000 < corpus.sizes.sum() < 4_000_000
    assert min(map(len, texts)) >= 128
    assert len(set(texts)) == len(texts)
    assert any("Compound statements" in text for text in texts[:100])
    assert any("argparse" in text for text in texts)
    assert corpus.labels is None


@pytest.fixture(scope="module")
def elsewhere() -> tuple[str, str]:
    """Of another process: the key of the corpus, and what reading it has imported of the library."""
    code = (
        "import sys; from ssl_lightning.data.text.python_docs import python_docs; before = set(sys.modules);"
        "print(python_docs().key);"
        "print({'antigravity', 'asyncio', 'tkinter', 'unittest'} & (set(sys.modules) - before))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    key, imported = found.splitlines()
    return key, imported


def test_the_order_is_the_same_in_every_process(elsewhere, corpus):
    assert elsewhere[0] == corpus.key


def test_nothing_of_the_library_is_imported(elsewhere):
    assert elsewhere[1] == "set()"


def test_what_is_held_out_is_not_known_from_the_rest(corpus):
    """Of runs of 13 words, 15 to 23 % were known where documents were drawn one by one."""
    held = corpus.held_out(len(corpus) // 10, seed=0)
    assert 0.08 < held.mean() < 0.12
    runs = [{tuple(words[n : n + 13]) for n in range(len(words) - 12)} for words in map(str.split, corpus.texts())]
    known = set().union(*(found for found, out in zip(runs, held, strict=True) if not out))
    out = set().union(*(found for found, out in zip(runs, held, strict=True) if out))
    assert len(out & known) / len(out) < 0.05


def test_there_is_no_test_set():
    with pytest.raises(InputError, match="no split 'test'"):
        python_docs(split="test")
