"""W-MSE: Whitening for Self-Supervised Representation Learning.

Ermolov, Siarohin, Sangineto and Sebe, 2020. https://arxiv.org/abs/2007.06346
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.losses.redundancy import w_mse
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.image import embedding_dim
from ssl_lightning.modules.heads import mlp
from ssl_lightning.modules.masking import shared_permutation
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

    def __init__(
        self,
        backbone: nn.Module,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        hidden_dim: PositiveInt = 1024,
        out_dim: PositiveInt = 64,
        group_size: PositiveInt = 128,
    ) -> None:
        super().__init__(optimizer, schedule)
        self.backbone = backbone
        self.projector = mlp(embedding_dim(backbone), hidden_dim, out_dim)
        if group_size <= out_dim:
            raise InputError(f"method.group_size={group_size} must be above method.out_dim={out_dim} to be whitened")
        self.group_size, self.out_dim = group_size, out_dim

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 6 over groups that are drawn at random (Sec. 3.1).

        A last batch of validation with too few samples to whiten counts as 2, the distance of unrelated views.
        """
        h = [self(x) for x in batch["views"]]
        order = shared_permutation(len(h[0]), h[0].device)
        if len(order) <= self.out_dim:
            if self.training:
                raise InputError(f"a batch of {len(order)} cannot whiten method.out_dim={self.out_dim} dimensions")
            return {"loss": order.new_tensor(2.0, dtype=h[0].dtype), "embedding": h[0].detach()}
        loss = w_mse([self.projector(part) for part in h], order, self.group_size)
        return {"loss": loss, "embedding": h[0].detach()}
