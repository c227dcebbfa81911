"""A set of uint8 clips that are made when they are asked for, a whole batch at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ssl_lightning.data.dataset import Dataset


class VideoDataset(Dataset):
    """Clips (T, C, H, W) uint8.

    Args:
        draw: from the numbers of clips (B,) int64 to clips (B, T, C, H, W) uint8, always the same for the same number.
        total: number of clips.
        known: labels, classes, groups as those of `Dataset`; clips of one group show the same thing.
    """

    def __init__(self, draw: Callable[[torch.Tensor], torch.Tensor], total: int, **known: Any) -> None:
        super().__init__(total, **known)
        self.draw = draw

    def read(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        return {"video": self.draw(torch.from_numpy(rows))}
