"""Data sets that are read a whole batch at a time, and the one of images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch

Values = np.ndarray | torch.Tensor
Indices = Sequence[int] | Values


class Dataset:
    """N samples; `read` makes a batch of any of them at once, and a subset shares all but its rows.

    Args:
        total: number of samples of the whole set.
        labels: (total,) integers, or None.
        classes: the name of each label.
        groups: (total,) integers; a split must not separate samples with the same number, which come from one
            original. None: each sample stands alone.
        validation: (total,) bool: the samples that the set itself holds out for validation; None: it leaves the choice.
    """

    def __init__(
        self,
        total: int,
        labels: Values | None = None,
        classes: list[str] | None = None,
        groups: Values | None = None,
        validation: Values | None = None,
    ) -> None:
        for name, values in {"labels": labels, "groups": groups, "validation": validation}.items():
            if values is not None and np.shape(values) != (total,):
                raise ValueError(f"{name} must be ({total},), one for each, not {np.shape(values)}")
        self.rows = np.arange(total)
        self.classes = classes
        self._labels = None if labels is None else np.asarray(labels, np.int64)
        self._groups, self._validation = groups, validation

    def read(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Samples by their positions (B,) int64 in the whole set, without `index` and `label`."""
        raise NotImplementedError

    def owners(self, rows: np.ndarray) -> np.ndarray:
        """Whose label, group and mark of validation the samples at `rows` (B,) have: (B,), their own."""
        return rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray | None:
        """(N,) int64 labels of the samples of this subset, or None."""
        return self._of_subset(self._labels)

    @property
    def groups(self) -> np.ndarray | None:
        """(N,) group numbers of the samples of this subset, or None."""
        return self._of_subset(self._groups)

    @property
    def validation(self) -> np.ndarray | None:
        """(N,) bool: which samples of this subset are for validation, or None."""
        return self._of_subset(self._validation)

    def _of_subset(self, values: Values | None) -> np.ndarray | None:
        return None if values is None else np.asarray(values)[self.owners(self.rows)]

    def __getitems__(self, indices: Indices) -> dict[str, torch.Tensor]:
        """Batch dict of positions within this subset; `index` (B,) holds positions in the whole set."""
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        batch = {**self.read(rows), "index": torch.from_numpy(rows)}
        if self._labels is not None:
            batch["label"] = torch.from_numpy(self._labels[self.owners(rows)])
        return batch

    def subset(self, indices: Indices) -> Self:
        """The samples at these positions of this subset, sharing its memory."""
        part = copy.copy(self)
        part.rows = self.rows[np.asarray(indices, dtype=np.int64)]
        return part


class ImageDataset(Dataset):
    """Images in memory or memory-mapped: a batch is one index operation.

    Args:
        images: (N, C, H, W) uint8, an array or CPU tensor; it is not copied.
        labels, classes, groups: as those of `Dataset`.
    """

    def __init__(
        self,
        images: Values,
        labels: Values | None = None,
        classes: list[str] | None = None,
        groups: Values | None = None,
    ) -> None:
        self.images = np.asarray(images)
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be (N, C, H, W) uint8, not {self.images.shape} {self.images.dtype}")
        super().__init__(len(self.images), labels, classes, groups)

    def read(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        return {"image": torch.from_numpy(self.images[rows])}
