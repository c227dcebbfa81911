"""The evidence lower bound of Gaussians. Kingma and Welling 2013, https://arxiv.org/abs/1312.6114."""

import math

from torch import Tensor

from ssl_lightning.losses.precision import in_float32


@in_float32(same=2)
def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of each sample in nats, (B, K) and (B, K) -> (B,); Appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1)


def gaussian_nll(squared_error: Tensor, variance: Tensor) -> Tensor:
    """-log N(x; mean, variance) in nats per number, from the squared error of a number or the mean over many."""
    return 0.5 * (squared_error / variance + variance.log() + math.log(2 * math.pi))
