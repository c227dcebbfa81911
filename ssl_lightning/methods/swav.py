"""SwAV: Unsupervised Learning of Visual Features by Contrasting Cluster Assignments.

Caron, Misra, Mairal, Goyal, Bojanowski and Joulin, 2020. https://arxiv.org/abs/2006.09882
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.distributed import rank, world_size
from ssl_lightning.losses.clustering import sinkhorn, swapped
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import Prototypes, mlp
from ssl_lightning.modules.multi_crop import count_global, encode_by_size
from ssl_lightning.modules.queue import Queue
from ssl_lightning.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt


class SwAV(Method):
    """Predicts the cluster of one view, assigned with equal shares of all clusters, from another view.

    Deviation: the queue takes projections from the first step, so that it is full after `queue_epochs`; the authors'
    begins to fill then. Both are used once they are full.

    Args:
        backbone: network from (B, C, H, W), of any size H = W, to (B, D), with `out_dim` D.
        hidden_dim: width of the projector's hidden layer.
        out_dim: K, width of the projection.
        prototypes: P, number of clusters.
        temperature: temperature of the predicted assignments.
        epsilon: temperature of the assignments to predict.
        iterations: iterations of Sinkhorn-Knopp.
        freeze_epochs: number of epochs in which the prototypes do not move.
        queue_size: number of earlier projections of each global view that join the assignment; 0: none.
        queue_epochs: number of epochs without the queue.
    """

    hidden_dim: PositiveInt = 2048
    out_dim: PositiveInt = 128
    prototypes: PositiveInt = 3000
    temperature: PositiveFloat = 0.1
    epsilon: PositiveFloat = 0.05
    iterations: PositiveInt = 3
    freeze_epochs: NonNegativeFloat = 1
    queue_size: NonNegativeInt = 0
    queue_epochs: NonNegativeFloat = 15

    def __post_init__(self) -> None:
        self.projector = mlp(self.backbone.out_dim, self.hidden_dim, self.out_dim)
        self.head = Prototypes(self.out_dim, self.prototypes)
        self.queues: Any = nn.ModuleList(
            [Queue(self.queue_size, self.out_dim) for _ in range(2 if self.queue_size else 0)]
        )

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 2, with multi-crop (Eq. 6): the global views are assigned, and predicted from all others."""
        views = batch["views"]
        h = encode_by_size(self, views)
        z = self.projector(torch.cat(h)).chunk(len(views))
        scores = [self.head(part) for part in z]
        assigned = range(count_global(views))
        targets = [self._assign(scores[i].detach(), i) for i in assigned]
        for queue, rows in zip(self.queues, z, strict=False):
            queue.add(rows)
        return {"loss": swapped(scores, targets, self.temperature), "embedding": h[0].detach()}

    @torch.no_grad()
    def _assign(self, scores: Tensor, view: int) -> Tensor:
        """Assignments (B, P) of a view; the rows of its queue, equal on all ranks, are shared out among them."""
        full = self.step * world_size() * len(scores) >= self.queue_size
        if self.queues and full and self.epoch >= self.queue_epochs:
            earlier = self.head(self.queues[view].rows[rank() :: world_size()].to(scores.dtype))
            return sinkhorn(torch.cat([scores, earlier]), self.epsilon, self.iterations)[: len(scores)]
        return sinkhorn(scores, self.epsilon, self.iterations)

    def frozen(self) -> list[nn.Parameter]:
        return [self.head.weight] if self.epoch < self.freeze_epochs else []

    def after_step(self, progress: float) -> None:
        for queue in self.queues:
            queue.advance()
