"""BYOL: Bootstrap Your Own Latent, a New Approach to Self-Supervised Learning.

Grill et al., 2020. https://arxiv.org/abs/2006.07733
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.losses.cosine import byol_loss
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.ema import make_teacher, move_teacher
from ssl_lightning.modules.heads import mlp
from ssl_lightning.optim.schedules import momentum_cosine
from ssl_lightning.ranges import Fraction, PositiveInt


class BYOL(Method):
    """A student predicts, from one view, the projection of the other view by an EMA teacher, without negatives.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        hidden_dim: width of the hidden layers of projector and predictor.
        out_dim: K, width of projection z and prediction p.
        momentum: initial momentum of the teacher; it rises to 1 along a cosine (Sec. 3.3).
    """

    views = 2

    hidden_dim: PositiveInt = 4096
    out_dim: PositiveInt = 256
    momentum: Fraction = 0.996

    def __post_init__(self) -> None:
        self.projector = mlp(self.backbone.out_dim, self.hidden_dim, self.out_dim)
        self.predictor = mlp(self.out_dim, self.hidden_dim, self.out_dim)
        self.teacher = make_teacher(nn.Sequential(self.backbone, self.projector))

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 2, symmetric in the views. Deviation: the mean of both directions, in [0, 4], instead of the sum.

        Its gradient is half of the paper's and twice that of lightly, whose loss is the mean of negative cosines.
        """
        x1, x2 = batch["views"]
        h1, h2 = self(x1), self(x2)
        p1, p2 = (self.predictor(self.projector(h)) for h in (h1, h2))
        with torch.no_grad():
            z1, z2 = self.teacher(x1), self.teacher(x2)
        return {"loss": (byol_loss(p1, z2) + byol_loss(p2, z1)) / 2, "embedding": h1.detach()}

    def after_step(self, progress: float) -> None:
        momentum = momentum_cosine(progress, self.momentum, 1.0)
        move_teacher(self.teacher, nn.Sequential(self.backbone, self.projector), momentum)
