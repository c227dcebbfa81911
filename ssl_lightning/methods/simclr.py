"""SimCLR: A Simple Framework for Contrastive Learning of Visual Representations.

Chen, Kornblith, Norouzi and Hinton, 2020. https://arxiv.org/abs/2002.05709
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_lightning.losses.contrastive import nt_xent
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.grad_cache import grad_cached
from ssl_lightning.modules.heads import mlp
from ssl_lightning.ranges import AtLeastTwo, PositiveFloat, PositiveInt


class SimCLR(Method):
    """Two views of an image attract each other and repel the views of every other image of the batch.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        hidden_dim: width of the projector's hidden layer.
        out_dim: K, width of the projection z.
        temperature: divides the cosine similarities (Eq. 1).
        chunk_size: number of views per device that are encoded at once; None: all. Memory holds the activations of one
            chunk, and the gradient is that of the whole batch, at the cost of a second forward pass. Batch
            normalization then uses the statistics of a chunk (of all devices).
    """

    views = 2
    uses_batch_negatives = True

    hidden_dim: PositiveInt = 2048
    out_dim: PositiveInt = 128
    temperature: PositiveFloat = 0.5
    chunk_size: AtLeastTwo | None = None

    def __post_init__(self) -> None:
        self.projector = mlp(self.backbone.out_dim, self.hidden_dim, self.out_dim, out_norm=True)

    def negatives(self, batch_size: int) -> int:
        """Both views of the others."""
        return 2 * (batch_size - 1)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Algorithm 1; both views are encoded as one batch, as in the authors' code."""
        h, z = grad_cached(self._encode, torch.cat(batch["views"]), self.chunk_size, self)
        z1, z2 = z.chunk(2)
        return {"loss": nt_xent(z1, z2, self.temperature), "embedding": h.chunk(2)[0].detach()}

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self(x)
        return h, self.projector(h)
