"""From a batch of raw clips to normalized frames."""

from typing import Any

import torch

from ssl_lightning.transforms.views import EvaluationView


class Frames(EvaluationView):
    """Adds `frames` (B, T, C, size, size): each frame of `video` as an `EvaluationView`."""

    requires = ("video",)
    produces = ("frames",)

    def forward(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> dict[str, Any]:
        images = super().forward({"image": batch["video"].flatten(0, 1)})["image"]
        return {**batch, "frames": images.unflatten(0, batch["video"].shape[:2])}
