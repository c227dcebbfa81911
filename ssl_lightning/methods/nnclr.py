"""NNCLR: With a Little Help from My Friends, Nearest-Neighbor Contrastive Learning of Visual Representations.

Dwibedi, Aytar, Tompson, Sermanet and Zisserman, 2021. https://arxiv.org/abs/2104.14548
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.distributed import gather
from ssl_lightning.losses.contrastive import info_nce
from ssl_lightning.losses.precision import no_autocast
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.image import embedding_dim
from ssl_lightning.modules.heads import mlp
from ssl_lightning.modules.queue import Queue
from ssl_lightning.ranges import PositiveFloat, PositiveInt


class NNCLR(Method):
    """The positive of a view is the nearest neighbor, in a queue of earlier samples, of the other view.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        hidden_dim: width of the projector's two hidden layers; the predictor's is twice that.
        out_dim: K, width of projection and prediction.
        queue_size: Q, number of earlier projections, the support set.
        temperature: divides the cosine similarities.
    """

    views = 2
    uses_batch_negatives = True

    def __init__(
        self,
        backbone: nn.Module,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        hidden_dim: PositiveInt = 2048,
        out_dim: PositiveInt = 256,
        queue_size: PositiveInt = 98304,
        temperature: PositiveFloat = 0.1,
    ) -> None:
        super().__init__(optimizer, schedule)
        self.backbone = backbone
        self.projector = mlp(embedding_dim(backbone), hidden_dim, hidden_dim, out_dim, out_norm=True)
        self.predictor = mlp(out_dim, hidden_dim * 2, out_dim)
        self.queue = Queue(queue_size, out_dim)
        self.temperature = temperature
        self.fresh: list[Tensor] = []

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 3, symmetric. The queue takes the first views after the step, so no neighbor is the sample itself of this
        batch; `neighbor_similarity` is the mean cosine of a projection and its neighbor.
        """
        h1, h2 = (self(x) for x in batch["views"])
        z1, z2 = self.projector(h1), self.projector(h2)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        n1, n2 = self._nearest(z1), self._nearest(z2)
        if self.training:
            self.fresh.append(z1.detach())
        loss = info_nce(n1, p2, self.temperature) + info_nce(n2, p1, self.temperature)
        similarity = F.cosine_similarity(z1.detach(), n1).mean()
        return {"loss": loss / 2, "embedding": h1.detach(), "neighbor_similarity": similarity}

    def _nearest(self, z: Tensor) -> Tensor:
        """The rows of the queue that are nearest to `z` (B, K): (B, K), without gradient."""
        unit = F.normalize(z.detach(), dim=1).to(self.queue.rows.dtype)
        with no_autocast(z):
            return self.queue.rows[(unit @ self.queue.rows.T).argmax(dim=1)]

    def after_step(self, progress: float) -> None:
        for rows in self.fresh:
            self.queue.push(gather(rows))
        self.fresh.clear()
