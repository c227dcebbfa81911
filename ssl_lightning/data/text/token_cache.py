"""A corpus tokenized once into a memory-mapped array that later runs open at once."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ssl_lightning.data.cache import cached_ragged, digest, progress_bar
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.tokenizers import Tokenizer

VERSION = 3  # raise it when the same corpus and tokenizer give other tokens, so that old caches are not used
TASK = 64  # pieces that are tokenized at a time, in parallel threads


def tokenize_corpus(corpus: Corpus, tokenizer: Tokenizer, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """All documents as tokens (T,), memory-mapped, and offsets (D + 1,), from the cache if they are in it.

    Document d has `tokens[offsets[d] : offsets[d + 1]]`. The key of the cache is made of the text, of where each
    document begins and ends, and of the tokenizer.

    Raises:
        InputError: the cache is damaged or cannot be written.
    """
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)

    def parts() -> Iterator[tuple[int, np.ndarray, str]]:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else it warns when workers of a DataLoader are forked
        pieces, total = corpus.pieces(), int(corpus.sizes.sum())
        with progress_bar("tokenizing", total, True) as advance:
            while task := list(islice(pieces, TASK)):
                found = tokenizer.encode_batch([piece for _, piece in task])
                for (document, piece), ids in zip(task, found, strict=True):
                    yield document, np.array(ids, dtype), ""
                    advance(len(piece.encode()))

    path = cache / "tokens" / digest(f"v{VERSION}", corpus.key, tokenizer.key)
    return cached_ragged(path, dtype, len(corpus), parts)[:2]
