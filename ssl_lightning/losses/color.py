"""Classification with rare colors weighted up: Zhang et al. 2016, https://arxiv.org/abs/1603.08511, Sec. 2.2."""

import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.losses.precision import in_float32


def rarity_weights(prior: Tensor, uniform: float = 0.5) -> Tensor:
    """Eq. 4: the weights of Q colors from their frequencies `prior` (Q,), which sum to 1.

    A weight is inverse to the prior after mixing it with the uniform distribution, whose share is `uniform` in (0, 1].
    The mean weight under the prior is 1.
    """
    weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
    return weights / (prior * weights).sum()


@in_float32()
def soft_cross_entropy(logits: Tensor, bins: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    """Eq. 2: scalar, the mean over M pixels, each weighted, such as by the rarity of its nearest color (Eq. 3).

    Args:
        logits: (M, Q).
        bins: (M, 5) int64, the bins of the soft target, nearest first.
        shares: (M, 5), their probabilities.
        weights: (M,).
    """
    found = F.log_softmax(logits, dim=1).gather(1, bins)
    return -(weights * (shares * found).sum(dim=1)).mean()
