"""NNCLR: With a Little Help from My Friends, Nearest-Neighbor Contrastive Learning of Visual Representations.

Dwibedi, Aytar, Tompson, Sermanet and Zisserman, 2021. https://arxiv.org/abs/2104.14548
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.losses.contrastive import info_nce
from ssl_lightning.losses.precision import no_autocast
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import mlp
from ssl_lightning.modules.queue import Queue
from ssl_lightning.ranges import PositiveFloat, PositiveInt


class NNCLR(Method):
    """The positive of a view is the nearest neighbor, in a queue of earlier samples, of the other view.

    Deviation: the projector's last batch normalization has no learned scale and shift, as that of MoCo v3 and SimSiam,
    whose head it shares; the paper does not say.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        hidden_dim: width of the projector's two hidden layers; the predictor's is twice that.
        out_dim: K, width of projection and prediction.
        queue_size: Q, number of earlier projections, the support set.
        temperature: divides the cosine similarities.
    """

    views = 2
    uses_batch_negatives = True

    hidden_dim: PositiveInt = 2048
    out_dim: PositiveInt = 256
    queue_size: PositiveInt = 98304
    temperature: PositiveFloat = 0.1

    def __post_init__(self) -> None:
        hidden, out = self.hidden_dim, self.out_dim
        self.projector = mlp(self.backbone.out_dim, hidden, hidden, out, out_norm=True)
        self.predictor = mlp(out, hidden * 2, out)
        self.queue = Queue(self.queue_size, out)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 3, symmetric. The queue takes the first views after the step, so no neighbor is the sample itself of this
        batch; `neighbor_similarity` is the mean cosine of a projection and its neighbor.
        """
        h1, h2 = (self(x) for x in batch["views"])
        z1, z2 = self.projector(h1), self.projector(h2)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        n1, n2 = self._nearest(z1), self._nearest(z2)
        self.queue.add(z1)
        loss = info_nce(n1, p2, self.temperature) + info_nce(n2, p1, self.temperature)
        similarity = F.cosine_similarity(z1.detach(), n1).mean()
        return {"loss": loss / 2, "embedding": h1.detach(), "neighbor_similarity": similarity}

    def _nearest(self, z: Tensor) -> Tensor:
        """The rows of the queue that are nearest to `z` (B, K): (B, K), without gradient."""
        unit = F.normalize(z.detach(), dim=1).to(self.queue.rows.dtype)
        with no_autocast(z):
            return self.queue.rows[(unit @ self.queue.rows.T).argmax(dim=1)]

    def after_step(self, progress: float) -> None:
        self.queue.advance()
