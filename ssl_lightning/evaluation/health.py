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


def alpha_req(h: Tensor) -> Tensor:
    """The alpha of (B, D): the eigenvalues of its covariance decay as rank ** -alpha, by least squares in logarithms.

    Near 1 is best: lower is noise in many directions, higher are few directions (alpha-ReQ, Agrawal et al. 2022,
    Sec. 2.2, https://openreview.net/forum?id=ii9X4vtZGTZ). Eigenvalues that are 0 in float32 do not count; NaN if fewer
    than two are left.
    """
    x = _rows(h).double()
    values = torch.linalg.svdvals(x - x.mean(dim=0)).square()
    values = values[values > values[:1] * 1e-12]
    rank = torch.arange(1, len(values) + 1, device=x.device).double().log()
    rank = rank - rank.mean()
    return -(rank @ values.log()) / rank.square().sum()


def lidar(views: Tensor, delta: float = 1e-4) -> Tensor:
    """LiDAR of (N, V, D), V views of each of N samples: how many directions tell samples apart, and not views.

    The exponential of the entropy of the normalized eigenvalues of the between-sample covariance, whitened by that
    within samples plus `delta` (Thilak et al. 2023, Eq. 1 to 5, https://arxiv.org/abs/2312.04000): in
    [1, min(N - 1, D)].
    """
    x = views.detach().double()
    means = x.mean(dim=1)
    inside = (x - means[:, None]).flatten(0, 1)
    within = inside.T @ inside / len(inside) + delta * torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    values, directions = torch.linalg.eigh(within)
    whitened = (means - means.mean(dim=0)) @ directions / values.sqrt()
    p = torch.linalg.svdvals(whitened).square()
    return torch.special.entr(p / p.sum().clamp(min=torch.finfo(p.dtype).tiny)).sum().exp()
