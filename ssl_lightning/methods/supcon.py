"""SupCon: Supervised Contrastive Learning, the ceiling for methods that compare views without labels.

Khosla et al., 2020. https://arxiv.org/abs/2004.11362
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_lightning.losses.contrastive import supervised_contrastive
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import mlp
from ssl_lightning.ranges import PositiveFloat, PositiveInt


class SupCon(Method):
    """The positives of a view are all views of its class. It is the only method that reads labels.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        hidden_dim: width of the projector's hidden layer.
        out_dim: K, width of the projection.
        temperature: divides the cosine similarities.
    """

    requires = ("views", "label")
    views = 2
    uses_batch_negatives = True

    hidden_dim: PositiveInt = 2048
    out_dim: PositiveInt = 128
    temperature: PositiveFloat = 0.1

    def __post_init__(self) -> None:
        self.projector = mlp(self.backbone.out_dim, self.hidden_dim, self.out_dim, norm=False)

    def negatives(self, batch_size: int) -> int:
        """Both views of the others."""
        return 2 * (batch_size - 1)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 2, L_out."""
        h = self(torch.cat(batch["views"]))
        z1, z2 = self.projector(h).chunk(2)
        loss = supervised_contrastive(z1, z2, batch["label"], self.temperature)
        return {"loss": loss, "embedding": h.chunk(2)[0].detach()}
