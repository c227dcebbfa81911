"""Data sets that are read a whole batch at a time, and the one of images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch

Indices = Sequence[int] | np.ndarray | torch.Tensor


class Dataset:
    """N samples; `read` makes a batch of any of them at once, and a subset shares all but its rows.

    Args:
        total: number of samples of the whole set.
        labels: (total,) integers, or None.
        classes: the name of each label.
        groups: (total,) integers; a split must not separate samples with the same number, which come from one
            original. None: each sample stands alone.
    """

    def __init__(
        self,
        total: int,
        labels: np.ndarray | torch.Tensor | None = None,
        classes: list[str] | None = None,
        groups: np.ndarray | None = None,
    ) -> None:
        self.rows = np.arange(total)
        self.classes = classes
        self._labels = _column("labels", labels, total)
        self._groups = _column("groups", groups, total)

    def read(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Samples by their positions (B,) int64 in the whole set, without `index` and `label`."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray | None:
        """(N,) int64 labels of the samples of this subset, or None."""
        return None if self._labels is None else self._labels[self.rows]

    @property
    def groups(self) -> np.ndarray | None:
        """(N,) int64 group numbers of the samples of this subset, or None."""
        return None if self._groups is None else self._groups[self.rows]

    @property
    def validation(self) -> np.ndarray | None:
        """(N,) bool: the samples that the set itself holds out for validation; None: it leaves the choice."""
        return None

    def __getitems__(self, indices: Indices) -> dict[str, torch.Tensor]:
        """Batch dict of positions within this subset; `index` (B,) holds positions in the whole set."""
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        batch = {**self.read(rows), "index": torch.from_numpy(rows)}
        if self._labels is not None:
            batch["label"] = torch.from_numpy(self._labels[rows])
        return batch

    def subset(self, indices: Indices) -> Self:
        """The samples at these positions of this subset, sharing its memory."""
        part = copy.copy(self)
        part.rows = self.rows[np.asarray(indices, dtype=np.int64)]
        return part


class ImageDataset(Dataset):
    """Images in memory or memory-mapped: a batch is one index operation.

    Args:
        images: (N, C, H, W) uint8, an array or CPU tensor; it is not copied. `shape` is (C, H, W).
        labels, classes, groups: as those of `Dataset`.
    """

    def __init__(
        self,
        images: np.ndarray | torch.Tensor,
        labels: np.ndarray | torch.Tensor | None = None,
        classes: list[str] | None = None,
        groups: np.ndarray | None = None,
    ) -> None:
        self.images = np.asarray(images)
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be (N, C, H, W) uint8, not {self.images.shape} {self.images.dtype}")
        super().__init__(len(self.images), labels, classes, groups)
        self.shape = self.images.shape[1:]

    def read(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        return {"image": torch.from_numpy(self.images[rows])}


def _column(name: str, values: np.ndarray | torch.Tensor | None, total: int) -> np.ndarray | None:
    if values is None:
        return None
    column = np.asarray(values, dtype=np.int64)
    if column.shape != (total,):
        raise ValueError(f"{name} must be ({total},), one per sample, not {column.shape}")
    return column
