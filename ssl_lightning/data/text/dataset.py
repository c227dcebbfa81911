"""A set of token windows over one long array: a batch is one index operation."""

from __future__ import annotations

import numpy as np
import torch

from ssl_lightning.data.dataset import Dataset


class TokenDataset(Dataset):
    """Windows (W, length) of the tokens of documents; no window crosses the border of two. `groups`: the documents.

    Args:
        tokens: (T,) integers in memory or memory-mapped, all documents one after the other.
        offsets: (D + 1,); document d is `tokens[offsets[d] : offsets[d + 1]]`.
        length: tokens of a window. What it lacks at the end of its document is filled with `pad_id`.
        stride: tokens from the start of a window to that of the next, until one reaches the end of the document;
            None: `length`, the windows tile the document.
        labels: (D,) integers, one a document, or None; `classes` their names.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        offsets: np.ndarray,
        length: int,
        pad_id: int,
        stride: int | None = None,
        labels: np.ndarray | None = None,
        classes: list[str] | None = None,
    ) -> None:
        stride = length if stride is None else stride
        if length < 1 or not 1 <= stride <= length:
            raise ValueError(f"length={length} must be at least 1, and stride={stride} from 1 to it")
        sizes = np.diff(offsets)
        if labels is not None and labels.shape != sizes.shape:
            raise ValueError(f"labels must be {sizes.shape}, one per document, not {labels.shape}")
        counts = np.where(sizes > 0, 1 + -(-np.maximum(sizes - length, 0) // stride), 0)
        documents = np.repeat(np.arange(len(sizes)), counts)
        super().__init__(len(documents), None if labels is None else labels[documents], classes, documents)
        self.tokens, self.length, self.pad_id = tokens, length, pad_id
        number = np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.starts = offsets[:-1][documents] + number * stride
        self.sizes = np.minimum(offsets[1:][documents] - self.starts, length)

    @property
    def documents(self) -> np.ndarray:
        """(N,) int64: the document of each window of this subset."""
        assert self._groups is not None
        return self._groups[self.rows]

    @property
    def token_count(self) -> int:
        """Tokens in the windows of this subset, without padding."""
        return int(self.sizes[self.rows].sum())

    def read(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        assert self._groups is not None
        columns = np.arange(self.length)
        padded = columns >= self.sizes[rows, None]
        tokens = self.tokens[np.where(padded, 0, columns) + self.starts[rows, None]].astype(np.int64)
        tokens[padded] = self.pad_id
        return {"tokens": torch.from_numpy(tokens), "document": torch.from_numpy(self._groups[rows])}

    def of_documents(self, chosen: np.ndarray) -> TokenDataset:
        """The windows of this subset whose document is in a mask (D,) bool."""
        return self.subset(np.flatnonzero(chosen[self.documents]))

    def firsts(self) -> TokenDataset:
        """The first window of each document: one sample a text."""
        return self.subset(np.unique(self.documents, return_index=True)[1])
