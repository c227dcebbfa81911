"""VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning.

Bardes, Ponce and LeCun, 2021. https://arxiv.org/abs/2105.04906
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ssl_lightning.losses.redundancy import vicreg
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import mlp
from ssl_lightning.ranges import NonNegativeFloat, PositiveInt


class VICReg(Method):
    """Views of a sample must be near each other, every dimension must vary, and no two may be correlated.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        out_dim: K, width of the three layers of the projector.
        invariance: weight of the distance of the views, lambda in Eq. 6.
        variance: weight of the hinge on the standard deviation, mu.
        covariance: weight of the squared covariances, nu.
    """

    views = 2

    out_dim: PositiveInt = 8192
    invariance: NonNegativeFloat = 25.0
    variance: NonNegativeFloat = 25.0
    covariance: NonNegativeFloat = 1.0

    def __post_init__(self) -> None:
        self.projector = mlp(self.backbone.out_dim, self.out_dim, self.out_dim, self.out_dim)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 6, and its three terms before they are weighted."""
        h1, h2 = (self(x) for x in batch["views"])
        terms = vicreg(self.projector(h1), self.projector(h2))
        loss = sum(getattr(self, name) * term for name, term in terms.items())
        return {"loss": loss, "embedding": h1.detach(), **terms}
