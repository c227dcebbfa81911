"""Barlow Twins: Self-Supervised Learning via Redundancy Reduction.

Zbontar, Jing, Misra, LeCun and Deny, 2021. https://arxiv.org/abs/2103.03230
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ssl_lightning.losses.redundancy import barlow_twins
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.image import embedding_dim
from ssl_lightning.modules.heads import mlp
from ssl_lightning.ranges import NonNegativeFloat, PositiveInt


class BarlowTwins(Method):
    """The cross-correlation of the projections of two views must be the identity.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        out_dim: K, width of the three layers of the projector.
        off_diagonal: weight of the off-diagonal terms, lambda in Eq. 1.
    """

    views = 2

    def __init__(
        self,
        backbone: nn.Module,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        out_dim: PositiveInt = 8192,
        off_diagonal: NonNegativeFloat = 0.0051,
    ) -> None:
        super().__init__(optimizer, schedule)
        self.backbone = backbone
        self.projector = mlp(embedding_dim(backbone), out_dim, out_dim, out_dim)
        self.off_diagonal = off_diagonal

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Algorithm 1; the batch is standardized over all devices."""
        h1, h2 = (self(x) for x in batch["views"])
        loss = barlow_twins(self.projector(h1), self.projector(h2), self.off_diagonal)
        return {"loss": loss, "embedding": h1.detach()}
