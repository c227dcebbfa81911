"""A set of windows over a ragged array: documents, or recordings, of any length in one long array."""

from typing import Self

import numpy as np

from ssl_lightning.data.dataset import Dataset


class WindowDataset(Dataset):
    """Windows of at most `length` values; no window crosses the border of two documents.

    Args:
        offsets: (D + 1,); document d has the values from `offsets[d]` up to `offsets[d + 1]`.
        length: values of a window; the last one of a document may have fewer.
        stride: values from the start of a window to that of the next, until one reaches the end of the document;
            None: `length`, the windows tile the document.
        labels: (D,) integers, one a document, or None; `classes` their names.
        groups: (D,) integers, one a document, as those of `Dataset`; None: each document is a group.
        validation: (D,) bool, or None, as that of `Dataset`.
    """

    def __init__(
        self,
        offsets: np.ndarray,
        length: int,
        stride: int | None = None,
        labels: np.ndarray | None = None,
        classes: list[str] | None = None,
        groups: np.ndarray | None = None,
        validation: np.ndarray | None = None,
    ) -> None:
        stride = length if stride is None else stride
        sizes = np.diff(offsets)
        for name, values in {"labels": labels, "groups": groups, "validation": validation}.items():
            if values is not None and values.shape != sizes.shape:
                raise ValueError(f"{name} must be {sizes.shape}, one per document, not {values.shape}")
        self.counts = np.where(sizes > 0, 1 + -(-np.maximum(sizes - length, 0) // stride), 0)
        self.ends = np.cumsum(self.counts)  # (D,): windows up to the end of each document
        super().__init__(int(self.counts.sum()), classes=classes)
        self.offsets, self.length, self.stride = offsets, length, stride
        self.document_labels, self.document_groups, self.document_validation = labels, groups, validation

    def places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Document, first value and number of values of the windows at `rows`, (B,) each."""
        document = np.searchsorted(self.ends, rows, side="right")
        number = rows - self.ends[document] + self.counts[document]
        start = self.offsets[document] + number * self.stride
        return document, start, np.minimum(self.offsets[document + 1] - start, self.length)

    @property
    def documents(self) -> np.ndarray:
        """(N,) the document of each window of this subset."""
        return self.places(self.rows)[0]

    @property
    def groups(self) -> np.ndarray:
        return self.documents if self.document_groups is None else self.document_groups[self.documents]

    @property
    def labels(self) -> np.ndarray | None:
        return None if self.document_labels is None else self.document_labels[self.documents]

    @property
    def validation(self) -> np.ndarray | None:
        return None if self.document_validation is None else self.document_validation[self.documents]

    def of_documents(self, chosen: np.ndarray) -> Self:
        """The windows of this subset whose document is in a mask (D,) bool."""
        return self.subset(np.flatnonzero(chosen[self.documents]))

    def firsts(self) -> Self:
        """The first window of each document: one sample a text."""
        return self.subset(np.unique(self.documents, return_index=True)[1])
