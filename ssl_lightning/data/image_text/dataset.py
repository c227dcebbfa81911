"""Images with one or several captions each: a batch is one index operation on either."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.dataset import windows
from ssl_lightning.data.text.token_cache import tokenize_corpus
from ssl_lightning.data.text.tokenizers import Tokenizer
from ssl_lightning.errors import InputError


class Captions:
    """The captions of N images, which subsets of a set share; tokenized once it is known by what.

    Args:
        captions: of each image, at least one.
    """

    def __init__(self, captions: Sequence[Sequence[str]]) -> None:
        self.corpus = Corpus.from_texts(text for texts in captions for text in texts)
        self.counts = np.array([len(texts) for texts in captions], np.int64)
        self.first = np.cumsum(self.counts) - self.counts
        self.most = int(self.counts.max())

    def tokenize(self, tokenizer: Tokenizer, length: int, cache: Path) -> None:
        """Each caption as its first `length` tokens. Raises InputError for one that has none."""
        self.tokens, offsets = tokenize_corpus(self.corpus, tokenizer, cache)
        self.start, self.size = offsets[:-1], np.minimum(np.diff(offsets), length)
        self.length, self.pad_id = length, tokenizer.pad_id
        if not self.size.all():
            empty = self.corpus.text(int(self.size.argmin()))
            raise InputError(f"the tokenizer finds nothing in the caption {empty!r}")

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Numbers (D,) of all captions of the images at `rows` (B,)."""
        return np.concatenate([np.arange(self.first[row], self.first[row] + self.counts[row]) for row in rows])

    def read(self, numbers: np.ndarray) -> Tensor:
        """The tokens of captions by their numbers (...), padded: (..., length) int64."""
        found = windows(self.tokens, self.start[numbers], self.size[numbers], self.length, self.pad_id)
        return torch.from_numpy(found)


class PairDataset(ImageDataset):
    """Images (N, C, H, W) uint8 and their captions; `columns` are the labels, classes and groups of `Dataset`.

    A batch has the first caption of each image as `tokens` (B, length). Where any image of the set has several, it has
    all as `captions` (B, M, length) too, of which the first `caption_count` (B,) are its own.
    """

    def __init__(self, images: np.ndarray, captions: Sequence[Sequence[str]], **known: Any) -> None:
        super().__init__(images, **known)
        self.captions = Captions(captions)

    def read(self, rows: np.ndarray) -> dict[str, Tensor]:
        captions = self.captions
        first, counts = captions.first[rows], captions.counts[rows]
        batch = {**super().read(rows), "tokens": captions.read(first)}
        if captions.most > 1:
            numbers = first[:, None] + np.minimum(np.arange(captions.most), counts[:, None] - 1)
            batch |= {"captions": captions.read(numbers), "caption_count": torch.from_numpy(counts)}
        return batch
