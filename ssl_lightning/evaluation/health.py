"""Label-free health metrics of an embedding: has it collapsed to a point or to few directions?"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.errors import InputError


def _rows(x: Tensor) -> Tensor:
    if x.ndim != 2 or len(x) < 2:
        raise InputError(f"the health of an embedding needs (B, D) with B >= 2, got {tuple(x.shape)}")
    return x.detach().float()


def embedding_std(h: Tensor) -> Tensor:
    """Standard deviation over the batch of the L2-normalized rows of (B, D), averaged over D, times sqrt(D): scalar.

    1 for isotropic directions, 0 if all rows are equal (SimSiam, Chen and He 2021, Sec. 4.1,
    https://arxiv.org/abs/2011.10566).
    """
    return F.normalize(_rows(h), dim=1).std(dim=0, correction=0).mean() * h.shape[1] ** 0.5


def effective_rank(h: Tensor) -> Tensor:
    """RankMe of (B, D): the exponential of the entropy of the normalized singular values, in [1, min(B, D)]: scalar.

    Garrido et al. 2023, Eq. 1 and 2, https://arxiv.org/abs/2210.02885. Deviation: 0 log 0 = 0, where the paper adds
    1e-7 to each term. NaN if `h` is not finite.
    """
    if not torch.isfinite(h).all():
        return torch.full((), float("nan"))
    singular = torch.linalg.svdvals(_rows(h))
    p = singular / singular.sum().clamp(min=torch.finfo(singular.dtype).tiny)
    return torch.special.entr(p).sum().exp()


def alignment(z1: Tensor, z2: Tensor) -> Tensor:
    """Mean squared distance between the two L2-normalized views (B, K) of each sample, in [0, 4]: scalar.

    Wang and Isola 2020, Sec. 4.1 with alpha = 2, https://arxiv.org/abs/2005.10242.
    """
    return (F.normalize(_rows(z1), dim=1) - F.normalize(_rows(z2), dim=1)).square().sum(dim=1).mean()


def uniformity(z: Tensor) -> Tensor:
    """Logarithm of the mean of exp(-2 |x - y|^2) over all pairs of L2-normalized rows (B, K): scalar.

    0 if all rows are equal; the more evenly they cover the sphere, the lower (Wang and Isola 2020, Sec. 4.1, t = 2).
    """
    z = F.normalize(_rows(z), dim=1)
    squared = (2 - 2 * z @ z.T).clamp(min=0)
    squared.fill_diagonal_(float("inf"))
    return torch.logsumexp(-2 * squared.flatten(), dim=0) - math.log(len(z) * (len(z) - 1))
