"""CLIP: Learning Transferable Visual Models From Natural Language Supervision.

Radford, Kim, Hallacy et al., 2021. https://arxiv.org/abs/2103.00020
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_lightning.losses.image_text import clip_loss, same_pairs
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.two_towers import TwoTowers
from ssl_lightning.ranges import PositiveFloat


class CLIP(TwoTowers, Method):
    """Each image finds its caption among those of the batch, and each caption its image.

    Args, beside those of `TwoTowers`:
        temperature: divides the cosine similarities at the start; then it is learned, down to 1/100 (Sec. 2.5).
    """

    temperature: PositiveFloat = 0.07

    def __post_init__(self) -> None:
        self.join(1 / self.temperature)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Fig. 3."""
        h, image, text = self.encoded(batch)
        same = same_pairs(batch["tokens"], batch["image"]) if self.dedupe else None
        loss = clip_loss(image, text, self.space.scale, same)
        return {"loss": loss, "embedding": h.detach(), "scale": self.space.scale.detach().squeeze()}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Sec. 2.5: the logits are scaled by 100 at most."""
        self.space.log_scale.clamp_(max=math.log(100))
