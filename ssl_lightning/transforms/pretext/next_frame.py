"""From a batch of raw clips to normalized frames."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ssl_lightning.ranges import PositiveInt
from ssl_lightning.transforms.views import EvaluationView


class Frames(nn.Module):
    """Adds `frames` (B, T, C, size, size): each frame of `video` as an `EvaluationView`."""

    requires = ("video",)
    produces = ("frames",)

    def __init__(self, size: PositiveInt, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.evaluation_view = EvaluationView(size, mean, std)

    def forward(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> dict[str, Any]:
        B, T = batch["video"].shape[:2]
        images = self.evaluation_view({"image": batch["video"].flatten(0, 1)})["image"]
        return {**batch, "frames": images.unflatten(0, (B, T))}
