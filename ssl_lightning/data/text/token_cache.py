"""A corpus tokenized once into a memory-mapped array that later runs open at once."""

import os
from itertools import islice
from pathlib import Path

import numpy as np

from ssl_lightning.data.cache import cached_dir, digest, progress_bar
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.tokenizers import Tokenizer
from ssl_lightning.errors import told

VERSION = 2  # raise it when the same corpus and tokenizer give other tokens, so that old caches are not used
TASK = 64  # pieces that are tokenized at a time, in parallel threads


def tokenize_corpus(corpus: Corpus, tokenizer: Tokenizer, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """All documents as tokens (T,), memory-mapped, and offsets (D + 1,), from the cache if they are in it.

    Document d has `tokens[offsets[d] : offsets[d + 1]]`. The key of the cache is made of the text, of where each
    document begins and ends, and of the tokenizer.

    Raises:
        InputError: the cache is damaged or cannot be written.
    """
    path = cache / "tokens" / digest(f"v{VERSION}", corpus.key, tokenizer.key)
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    cached_dir(path, lambda folder: _build(folder, corpus, tokenizer, dtype))
    with told(f"the cache {path} is damaged: remove it, and it is built again"):
        offsets, file = np.load(path / "offsets.npy"), path / "tokens.bin"
        tokens = np.asarray(np.memmap(file, dtype, mode="r")) if file.stat().st_size else np.empty(0, dtype)
        if len(offsets) != len(corpus) + 1 or offsets[-1] != len(tokens):
            raise ValueError("tokens are missing")
    return tokens, offsets


def _build(folder: Path, corpus: Corpus, tokenizer: Tokenizer, dtype: np.dtype) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else it warns when workers of a DataLoader are forked
    counts = np.zeros(len(corpus), np.int64)
    pieces, total = corpus.pieces(), int(corpus.sizes.sum())
    with (folder / "tokens.bin").open("wb") as stream, progress_bar("tokenizing", total, True) as advance:
        while task := list(islice(pieces, TASK)):
            found = tokenizer.encode_batch([piece for _, piece in task])
            for (document, piece), ids in zip(task, found, strict=True):
                stream.write(np.array(ids, dtype).tobytes())
                counts[document] += len(ids)
                advance(len(piece.encode()))
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(counts)]))
