"""A set of uint8 images as one array: a batch is one index operation, never a loop over samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class ImageDataset:
    """Images (N, C, H, W) uint8 in memory or memory-mapped, with or without labels.

    ``images``: array or CPU tensor; kept as it is, not copied. ``labels``: (N,) integers, or None.
    ``classes``: the name of each label. ``groups``: (N,) integers; images with the same number are drawn from one
    original, so a split must not part them (None: every image stands alone).
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
        self.all_labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.all_groups = None if groups is None else np.asarray(groups, dtype=np.int64)
        for name, values in (("labels", self.all_labels), ("groups", self.all_groups)):
            if values is not None and values.shape != (len(self.images),):
                raise ValueError(f"{name} must be ({len(self.images)},), one per image, not {values.shape}")
        self.classes = classes
        self.rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images) if self.rows is None else len(self.rows)

    @property
    def labels(self) -> np.ndarray | None:
        """(N,) int64 labels of the images of this subset, or None."""
        return self._of_rows(self.all_labels)

    @property
    def groups(self) -> np.ndarray | None:
        """(N,) int64 group numbers of the images of this subset, or None."""
        return self._of_rows(self.all_groups)

    def _of_rows(self, values: np.ndarray | None) -> np.ndarray | None:
        return values if values is None or self.rows is None else values[self.rows]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """Batch dict of positions within this subset; ``index`` (B,) holds positions in the original array."""
        rows = np.asarray(indices, dtype=np.int64)
        if self.rows is not None:
            rows = self.rows[rows]
        batch = {"image": torch.from_numpy(self.images[rows]), "index": torch.from_numpy(rows)}
        if self.all_labels is not None:
            batch["label"] = torch.from_numpy(self.all_labels[rows])
        return batch

    def subset(self, indices: Sequence[int] | np.ndarray | torch.Tensor) -> ImageDataset:
        """The images at these positions of this subset, sharing its memory."""
        rows = np.asarray(indices, dtype=np.int64)
        part = ImageDataset(self.images, self.all_labels, self.classes, self.all_groups)
        part.rows = rows if self.rows is None else self.rows[rows]
        return part
