"""SimCLR: A Simple Framework for Contrastive Learning of Visual Representations.

Chen, Kornblith, Norouzi and Hinton, 2020. https://arxiv.org/abs/2002.05709
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.losses.contrastive import nt_xent
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones import embedding_dim
from ssl_lightning.modules.heads import mlp


class SimCLR(Method):
    """Two views of an image attract each other and repel the views of every other image of the batch.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        hidden_dim: width of the projector's hidden layer.
        out_dim: K, width of the projection z.
        temperature: divides the cosine similarities (Eq. 1).
    """

    def __init__(
        self,
        backbone: nn.Module,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        hidden_dim: int = 2048,
        out_dim: int = 128,
        temperature: float = 0.5,
    ) -> None:
        super().__init__(optimizer, schedule)
        self.backbone = backbone
        self.projector = mlp(embedding_dim(backbone), hidden_dim, out_dim, out_norm=True)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Algorithm 1; both views pass the encoder as one batch, as in the authors' code."""
        h = self(torch.cat(batch["views"]))
        z1, z2 = self.projector(h).chunk(2)
        return {"loss": nt_xent(z1, z2, self.temperature), "embedding": h.chunk(2)[0].detach()}
