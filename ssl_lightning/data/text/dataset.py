"""A set of token windows over one long array: a batch is one index operation."""

from __future__ import annotations

import numpy as np
import torch

from ssl_lightning.data.dataset import Dataset


def windows(tokens: np.ndarray, start: np.ndarray, size: np.ndarray, length: int, pad_id: int) -> np.ndarray:
    """The `size` (...) tokens from `start` (...) on, filled up with `pad_id`: (..., length) int64."""
    columns = np.arange(length)
    padded = columns >= size[..., None]
    found = tokens[np.where(padded, 0, columns) + start[..., None]].astype(np.int64)
    found[padded] = pad_id
    return found


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
        sizes = np.diff(offsets)
        if labels is not None and labels.shape != sizes.shape:
            raise ValueError(f"labels must be {sizes.shape}, one per document, not {labels.shape}")
        self.counts = np.where(sizes > 0, 1 + -(-np.maximum(sizes - length, 0) // stride), 0)
        self.ends = np.cumsum(self.counts)  # (D,): windows up to the end of each document
        super().__init__(int(self.counts.sum()), classes=classes)
        self.tokens, self.offsets, self.length, self.stride, self.pad_id = tokens, offsets, length, stride, pad_id
        self.document_labels = labels

    def places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Document, first token and number of tokens of the windows at `rows`, (B,) each."""
        document = np.searchsorted(self.ends, rows, side="right")
        number = rows - self.ends[document] + self.counts[document]
        start = self.offsets[document] + number * self.stride
        return document, start, np.minimum(self.offsets[document + 1] - start, self.length)

    @property
    def groups(self) -> np.ndarray:
        return self.places(self.rows)[0]

    @property
    def labels(self) -> np.ndarray | None:
        return None if self.document_labels is None else self.document_labels[self.groups]

    @property
    def token_count(self) -> int:
        """Tokens in the windows of this subset, without padding."""
        return int(self.places(self.rows)[2].sum())

    def read(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        document, start, size = self.places(rows)
        tokens = windows(self.tokens, start, size, self.length, self.pad_id)
        batch = {"tokens": torch.from_numpy(tokens), "document": torch.from_numpy(document)}
        if self.document_labels is not None:
            batch["label"] = torch.from_numpy(self.document_labels[document])
        return batch

    def of_documents(self, chosen: np.ndarray) -> TokenDataset:
        """The windows of this subset whose document is in a mask (D,) bool."""
        return self.subset(np.flatnonzero(chosen[self.groups]))

    def firsts(self) -> TokenDataset:
        """The first window of each document: one sample a text."""
        return self.subset(np.unique(self.groups, return_index=True)[1])
