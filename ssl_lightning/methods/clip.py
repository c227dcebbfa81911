"""CLIP: Learning Transferable Visual Models From Natural Language Supervision.

Radford, Kim, Hallacy et al., 2021. https://arxiv.org/abs/2103.00020
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.losses.image_text import clip_loss, same_pairs
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.two_towers import TwoTowers
from ssl_lightning.ranges import AtLeastTwo, PositiveFloat, PositiveInt


class CLIP(TwoTowers, Method):
    """Each image finds its caption among those of the batch, and each caption its image.

    Args:
        backbone: network from images (B, C, H, W) to (B, D), with `out_dim` D.
        text_backbone: language model from tokens (B, N) to (B, D'); its head is not used.
        out_dim: K, width of the space in which images and texts are compared.
        temperature: divides the cosine similarities at the start; then it is learned, down to 1/100 (Sec. 2.5).
        chunk_size: number of images, and of texts, per device that are encoded at once; None: all. Memory holds the
            activations of one chunk, and the gradient is that of the whole batch, at the cost of a second forward pass.
        dedupe: whether equal captions or images of a batch are left out as each other's negatives.
    """

    def __init__(
        self,
        backbone: nn.Module,
        text_backbone: nn.Module,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        out_dim: PositiveInt = 512,
        temperature: PositiveFloat = 0.07,
        chunk_size: AtLeastTwo | None = None,
        dedupe: bool = False,
    ) -> None:
        super().__init__(optimizer, schedule)
        self.join(backbone, text_backbone, out_dim, 1 / temperature)
        self.chunk_size, self.dedupe = chunk_size, dedupe

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
