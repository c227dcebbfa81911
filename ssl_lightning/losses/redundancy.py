"""Losses on the statistics of a batch: Barlow Twins, VICReg and whitening (W-MSE).

Each gathers the projections of all ranks before it computes a statistic, and returns the same loss on every rank. So
the gradient of several ranks is that of the global batch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.distributed import gather
from ssl_lightning.losses.precision import in_float32


@in_float32(same=2, axes=2)
def barlow_twins(z1: Tensor, z2: Tensor, off_diagonal: float = 0.0051) -> Tensor:
    """Barlow Twins: scalar, the distance of the cross-correlation of two views from the identity.

    Zbontar et al. 2021, https://arxiv.org/abs/2103.03230, Eq. 1, with `off_diagonal` their lambda. `z1`, `z2`: (B, K)
    projections of two views of the same samples, standardized here over the global batch with the biased variance, as
    by their batch normalization. Equal views with uncorrelated dimensions give about 0.
    """
    z1, z2 = (_standardized(gather(z)) for z in (z1, z2))
    correlation = z1.T @ z2 / len(z1)  # (K, K)
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum() + off_diagonal * (correlation.square().sum() - diagonal.square().sum())


def _standardized(z: Tensor) -> Tensor:
    return (z - z.mean(dim=0)) * (z.var(dim=0, correction=0) + 1e-5).rsqrt()


@in_float32(same=2, axes=2)
def vicreg(z1: Tensor, z2: Tensor) -> dict[str, Tensor]:
    """VICReg: the scalars `invariance`, `variance` and `covariance`, not yet weighted.

    Bardes et al. 2021, https://arxiv.org/abs/2105.04906. `z1`, `z2`: (B, K) projections of two views of the same
    samples. `invariance` (Eq. 5) is a mean over samples and dimensions, as in the authors' code; `variance` (Eq. 1) is
    the mean of both views, as in their code, where Eq. 6 has the sum; `covariance` (Eq. 4) is the sum of both views.
    """
    z1, z2 = (gather(z) for z in (z1, z2))
    return {
        "invariance": F.mse_loss(z1, z2),
        "variance": (_variance_hinge(z1) + _variance_hinge(z2)) / 2,
        "covariance": _off_diagonal_covariance(z1) + _off_diagonal_covariance(z2),
    }


def _variance_hinge(z: Tensor) -> Tensor:
    return F.relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean()


def _off_diagonal_covariance(z: Tensor) -> Tensor:
    z = z - z.mean(dim=0)
    covariance = z.T @ z / (len(z) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]


def whitened(z: Tensor, epsilon: float = 1e-4) -> Tensor:
    """(N, K) -> (N, K) with mean 0 and covariance about the identity, by the Cholesky factor of the covariance.

    Ermolov et al. 2020, https://arxiv.org/abs/2007.06346, Eq. 8 and 9; `epsilon` of the identity is mixed into the
    covariance, an option of the authors' code: at its default, 0, projections that begin to collapse have no factor.
    """
    N, K = z.shape
    dtype, z = z.dtype, z.double()
    z = z - z.mean(dim=0)
    covariance = (1 - epsilon) * (z.T @ z / (N - 1)) + epsilon * torch.eye(K, dtype=z.dtype, device=z.device)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), z.T, upper=False).T.to(dtype)


@in_float32()
def w_mse(views: Sequence[Tensor], order: Tensor, group_size: int) -> Tensor:
    """W-MSE: scalar, the mean squared distance of the whitened and normalized projections of all pairs of views.

    Ermolov et al. 2020, Eq. 6 and Sec. 3.1. `views`: (B, K) each. The samples of all ranks, in `order` (W * B), are
    whitened in groups of at least `group_size` (fewer if there are not so many), each view apart from the others. The
    loss lies in [0, 4].
    """
    groups = max(1, len(order) // group_size)
    everyone = [gather(z)[order].tensor_split(groups) for z in views]
    white = [torch.cat([F.normalize(whitened(part), dim=1) for part in parts]) for parts in everyone]
    pairs = [(a, b) for i, a in enumerate(white) for b in white[i + 1 :]]
    return torch.stack([(a - b).square().sum(dim=1).mean() for a, b in pairs]).mean()
