"""A set of token windows over one long array: a batch is one index operation, never a loop over samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


class TokenDataset:
    """Windows (W, length) of the tokens of documents, none across the border of two.

    ``tokens``: all documents one behind the other, (T,) integers in memory or memory-mapped, or ``Shards``.
    ``offsets`` (D + 1,): document d is ``tokens[offsets[d] : offsets[d + 1]]``. Its windows begin every ``stride``
    tokens until one reaches its end; with ``stride`` None, which is ``length``, they tile it. What a window lacks at
    the end is filled with ``pad_id``. ``labels``: (D,) integers, one a document, or None; ``classes`` their names.
    """

    def __init__(
        self,
        tokens: Any,
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
        self.tokens, self.length, self.pad_id = tokens, length, pad_id
        self.documents = np.repeat(np.arange(len(sizes)), counts)
        place = np.arange(len(self.documents)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.starts = offsets[:-1][self.documents] + place * stride
        self.sizes = np.minimum(offsets[1:][self.documents] - self.starts, length)
        self.all_labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.classes = classes
        self.rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts) if self.rows is None else len(self.rows)

    @property
    def groups(self) -> np.ndarray:
        """(W,) int64: the document that each window of this subset is from."""
        return self.documents if self.rows is None else self.documents[self.rows]

    @property
    def labels(self) -> np.ndarray | None:
        """(W,) int64 labels of the windows of this subset, those of their documents, or None."""
        return None if self.all_labels is None else self.all_labels[self.groups]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """Batch dict of positions within this subset; ``index`` (B,) holds positions in the original array."""
        rows = np.asarray(indices, dtype=np.int64)
        if self.rows is not None:
            rows = self.rows[rows]
        place = np.arange(self.length)
        short = place >= self.sizes[rows, None]
        positions = np.where(short, 0, place) + self.starts[rows, None]
        tokens = self.tokens[positions].astype(np.int64)
        tokens[short] = self.pad_id
        documents = self.documents[rows]
        batch = {
            "tokens": torch.from_numpy(tokens),
            "document": torch.from_numpy(documents),
            "index": torch.from_numpy(rows),
        }
        if self.all_labels is not None:
            batch["label"] = torch.from_numpy(self.all_labels[documents])
        return batch

    def subset(self, indices: Sequence[int] | np.ndarray | torch.Tensor) -> TokenDataset:
        """The windows at these positions of this subset, sharing its memory."""
        rows = np.asarray(indices, dtype=np.int64)
        part = TokenDataset.__new__(TokenDataset)
        part.__dict__.update(self.__dict__, rows=rows if self.rows is None else self.rows[rows])
        return part

    def of_documents(self, chosen: np.ndarray) -> TokenDataset:
        """The windows of this subset whose document is in a mask (D,) bool."""
        return self.subset(np.flatnonzero(chosen[self.groups]))

    def firsts(self) -> TokenDataset:
        """The first window of each document: one sample a text."""
        return self.subset(np.unique(self.groups, return_index=True)[1])
