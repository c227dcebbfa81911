"""W-MSE: Whitening for Self-Supervised Representation Learning.

Ermolov, Siarohin, Sangineto and Sebe, 2020. https://arxiv.org/abs/2007.06346
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_lightning.distributed import world_size
from ssl_lightning.errors import InputError
from ssl_lightning.losses.redundancy import w_mse
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import mlp
from ssl_lightning.randomness import shared_generator
from ssl_lightning.ranges import PositiveInt


class WMSE(Method):
    """Whitened projections of the views of a sample must be near each other; whitening keeps them from collapsing.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        hidden_dim: width of the projector's hidden layer.
        out_dim: K, width of the projection.
        group_size: number of samples that are whitened together, above K; twice K in the paper.

    Raises:
        InputError: a group, or the batch, has no more samples than K.
    """

    views = 2

    hidden_dim: PositiveInt = 1024
    out_dim: PositiveInt = 64
    group_size: PositiveInt = 128

    def __post_init__(self) -> None:
        self.projector = mlp(self.backbone.out_dim, self.hidden_dim, self.out_dim)
        if self.group_size <= self.out_dim:
            sizes = f"method.group_size={self.group_size} must be above method.out_dim={self.out_dim}"
            raise InputError(f"{sizes} to be whitened")

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 6 over groups that are drawn at random (Sec. 3.1); the projector takes all views as one batch, as in the
        authors' code.

        A last batch of validation with too few samples to whiten counts as 2, the distance of unrelated views.
        """
        h = [self(x) for x in batch["views"]]
        order = torch.randperm(world_size() * len(h[0]), generator=shared_generator()).to(h[0].device)
        if len(order) <= self.out_dim:
            if self.training:
                raise InputError(f"a batch of {len(order)} cannot whiten method.out_dim={self.out_dim} dimensions")
            return {"loss": order.new_tensor(2.0, dtype=h[0].dtype), "embedding": h[0].detach()}
        z = self.projector(torch.cat(h)).chunk(len(h))
        return {"loss": w_mse(z, order, self.group_size), "embedding": h[0].detach()}
