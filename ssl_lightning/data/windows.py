"""A set of windows over a ragged array: documents, or recordings, of any length in one long array."""

from typing import Any, Self

import numpy as np

from ssl_lightning.data.dataset import Dataset


class WindowDataset(Dataset):
    """Windows of at most `length` values; no window crosses the border of two documents.

    Args:
        offsets: (D + 1,); document d has the values from `offsets[d]` up to `offsets[d + 1]`.
        length: values of a window; the last one of a document may have fewer.
        stride: values from the start of a window to that of the next, until one reaches the end of the document;
            None: `length`, the windows tile the document.
        known: labels, classes, groups, validation as those of `Dataset`, (D,), one a document; without groups each
            document is one.
    """

    def __init__(self, offsets: np.ndarray, length: int, stride: int | None = None, **known: Any) -> None:
        sizes = np.diff(offsets)
        if known.get("groups") is None:
            known["groups"] = np.arange(len(sizes))
        super().__init__(len(sizes), **known)
        self.offsets, self.length, self.stride = offsets, length, stride or length
        self.counts = np.where(sizes > 0, 1 + -(-np.maximum(sizes - length, 0) // self.stride), 0)
        self.ends = np.cumsum(self.counts)  # (D,): windows up to the end of each document
        self.rows = np.arange(self.counts.sum())

    def owners(self, rows: np.ndarray) -> np.ndarray:
        """The documents (B,) of the windows at `rows`."""
        return np.searchsorted(self.ends, rows, side="right")

    def places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Document, first value and number of values of the windows at `rows`, (B,) each."""
        document = self.owners(rows)
        number = rows - self.ends[document] + self.counts[document]
        start = self.offsets[document] + number * self.stride
        return document, start, np.minimum(self.offsets[document + 1] - start, self.length)

    def of_documents(self, chosen: np.ndarray) -> Self:
        """The windows of this subset whose document is in a mask (D,) bool."""
        return self.subset(np.flatnonzero(chosen[self.owners(self.rows)]))

    def firsts(self) -> Self:
        """The first window of each document: one sample a text."""
        return self.subset(np.unique(self.owners(self.rows), return_index=True)[1])
