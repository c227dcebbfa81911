"""Classification of colors, rare ones weighed up: Zhang et al. 2016, https://arxiv.org/abs/1603.08511, Sec. 2.2."""

import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.losses.precision import at_least_float32


def rarity_weights(prior: Tensor, uniform: float = 0.5) -> Tensor:
    """Eq. 4: the weight of each of Q colors, from their frequencies `prior` (Q,), which sum to 1.

    Inverse to the prior mixed with the uniform distribution by `uniform` in (0, 1]; 1 on average under the prior.
    """
    weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
    return weights / (prior * weights).sum()


def soft_cross_entropy(logits: Tensor, bins: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    """Eq. 2: scalar, the mean over M pixels, each weighed by the rarity of its nearest color (Eq. 3).

    `logits`: (M, Q); `bins`: (M, 5) int64, nearest first; `shares`: (M, 5), how the answer is shared out among them;
    `weights`: (Q,).
    """
    found = F.log_softmax(at_least_float32(logits), dim=1).gather(1, bins)
    return -(weights[bins[:, 0]] * (shares * found).sum(dim=1)).mean()
