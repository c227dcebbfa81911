"""Barlow Twins: Self-Supervised Learning via Redundancy Reduction.

Zbontar, Jing, Misra, LeCun and Deny, 2021. https://arxiv.org/abs/2103.03230
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ssl_lightning.losses.redundancy import barlow_twins
from ssl_lightning.methods.base import Method
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

    out_dim: PositiveInt = 8192
    off_diagonal: NonNegativeFloat = 0.0051

    def __post_init__(self) -> None:
        self.projector = mlp(self.backbone.out_dim, self.out_dim, self.out_dim, self.out_dim)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Algorithm 1; the batch is standardized over all devices."""
        h1, h2 = (self(x) for x in batch["views"])
        loss = barlow_twins(self.projector(h1), self.projector(h2), self.off_diagonal)
        return {"loss": loss, "embedding": h1.detach()}
