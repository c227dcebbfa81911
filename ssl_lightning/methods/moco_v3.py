"""MoCo v3: An Empirical Study of Training Self-Supervised Vision Transformers.

Chen, Xie and He, 2021. https://arxiv.org/abs/2104.02057
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.losses.contrastive import info_nce
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.vit import ViT
from ssl_lightning.modules.ema import make_teacher, move_teacher
from ssl_lightning.modules.heads import mlp
from ssl_lightning.optim.schedules import momentum_cosine
from ssl_lightning.ranges import Fraction, PositiveFloat, PositiveInt


class MoCoV3(Method):
    """Queries of one view must match keys of the other, from an EMA teacher, among the keys of the batch.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D. The patch embedding of a ViT is frozen at its
            random initial weights (Sec. 4.2).
        hidden_dim: width of the hidden layers of projector and predictor.
        out_dim: K, width of queries and keys.
        temperature: divides the cosine similarities; 1 for a ResNet in the authors' commands.
        momentum: initial momentum of the teacher; it rises to 1 along a cosine.
    """

    views = 2
    uses_batch_negatives = True

    hidden_dim: PositiveInt = 4096
    out_dim: PositiveInt = 256
    temperature: PositiveFloat = 0.2
    momentum: Fraction = 0.99

    def __post_init__(self) -> None:
        is_vit = isinstance(self.backbone, ViT)
        if is_vit:
            self.backbone.embed.requires_grad_(False)
        layers = [self.hidden_dim] * (2 if is_vit else 1)
        self.projector = mlp(self.backbone.out_dim, *layers, self.out_dim, out_norm=True)
        self.predictor = mlp(self.out_dim, self.hidden_dim, self.out_dim, out_norm=is_vit)
        self.teacher = make_teacher(nn.Sequential(self.backbone, self.projector))

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Algorithm 1. Deviation: its factor 2 * temperature is left out, so that the loss is a cross-entropy; and both
        directions are averaged. For the authors' gradient multiply the learning rate of SGD by 4 * temperature.
        """
        x1, x2 = batch["views"]
        h1, h2 = self(x1), self(x2)
        q1, q2 = (self.predictor(self.projector(h)) for h in (h1, h2))
        with torch.no_grad():
            k1, k2 = self.teacher(x1), self.teacher(x2)
        loss = info_nce(q1, k2, self.temperature) + info_nce(q2, k1, self.temperature)
        return {"loss": loss / 2, "embedding": h1.detach()}

    def after_step(self, progress: float) -> None:
        student = nn.Sequential(self.backbone, self.projector)
        move_teacher(self.teacher, student, momentum_cosine(progress, self.momentum, 1.0))
