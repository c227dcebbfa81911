"""SimSiam: Exploring Simple Siamese Representation Learning.

Chen and He, 2020. https://arxiv.org/abs/2011.10566
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ssl_lightning.losses.cosine import negative_cosine
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import mlp
from ssl_lightning.optim.groups import output_layers, parameter_groups
from ssl_lightning.ranges import PositiveInt


class SimSiam(Method):
    """Predicts, from one view, the projection of the other by the same network, whose gradient is stopped.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        out_dim: K, width of the three layers of the projector.
        hidden_dim: width of the predictor's bottleneck.
    """

    views = 2

    out_dim: PositiveInt = 2048
    hidden_dim: PositiveInt = 512

    def __post_init__(self) -> None:
        self.projector = mlp(self.backbone.out_dim, self.out_dim, self.out_dim, self.out_dim, out_norm=True)
        self.predictor = mlp(self.out_dim, self.hidden_dim, self.out_dim)

    def groups(self) -> list[dict[str, Any]]:
        """The predictor's learning rate is not decayed (Sec. 4.2)."""
        trained = nn.ModuleList([self.backbone, self.projector])
        ends = output_layers(self)
        fixed = [{**group, "scheduled": False} for group in parameter_groups(self.predictor, ends)]
        return parameter_groups(trained, ends) + fixed

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 2, in [-1, 1]: the mean of both directions."""
        h1, h2 = (self(x) for x in batch["views"])
        z1, z2 = self.projector(h1), self.projector(h2)
        loss = negative_cosine(self.predictor(z1), z2) + negative_cosine(self.predictor(z2), z1)
        return {"loss": loss / 2, "embedding": h1.detach()}
