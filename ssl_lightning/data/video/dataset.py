"""A set of uint8 clips that are made when they are asked for, a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch


class VideoDataset:
    """``total`` clips (T, C, H, W) uint8, with or without labels.

    ``draw``: from their numbers (B,) int64 to clips (B, T, C, H, W) uint8, always the same for the same number.
    ``shape``: (T, C, H, W). ``labels``: (total,) integers, or None; ``classes``: the name of each label. ``groups``:
    (total,) integers; clips with the same number show the same thing, so a split must not part them.
    """

    def __init__(
        self,
        draw: Callable[[torch.Tensor], torch.Tensor],
        total: int,
        shape: Sequence[int],
        labels: np.ndarray | None = None,
        classes: list[str] | None = None,
        groups: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self.draw, self.shape, self.classes = draw, tuple(shape), classes
        self.all_labels, self.all_groups = labels, groups
        self.rows = np.arange(total) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray | None:
        """(N,) int64 labels of the clips of this subset, or None."""
        return None if self.all_labels is None else self.all_labels[self.rows]

    @property
    def groups(self) -> np.ndarray | None:
        """(N,) int64 group numbers of the clips of this subset, or None."""
        return None if self.all_groups is None else self.all_groups[self.rows]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """Batch dict of positions within this subset; ``index`` (B,) holds positions in the whole set."""
        rows = torch.from_numpy(self.rows[np.asarray(indices, dtype=np.int64)])
        batch = {"video": self.draw(rows), "index": rows}
        if self.all_labels is not None:
            batch["label"] = torch.from_numpy(self.all_labels[rows.numpy()])
        return batch

    def subset(self, indices: Sequence[int] | np.ndarray) -> VideoDataset:
        """The clips at these positions of this subset."""
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        return VideoDataset(self.draw, len(rows), self.shape, self.all_labels, self.classes, self.all_groups, rows)
