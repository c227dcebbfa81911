"""Negative cosine similarity: SimSiam, and BYOL, Grill et al. 2020, https://arxiv.org/abs/2006.07733."""

import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.losses.precision import in_float32


@in_float32(same=2, axes=2)
def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """SimSiam Eq. 1, -cos(p, z) in [-1, 1]: scalar, the mean over this rank's batch.

    Chen and He 2020, https://arxiv.org/abs/2011.10566. `p`: (B, K) predictions; `z`: (B, K) projections, which get no
    gradient.
    """
    return -F.cosine_similarity(p, z.detach(), dim=1).mean()


def byol_loss(p: Tensor, z: Tensor) -> Tensor:
    """BYOL Eq. 2, 2 - 2 cos(p, z) in [0, 4]: twice the gradient of `negative_cosine`, whose arguments it takes."""
    return 2 + 2 * negative_cosine(p, z)
