"""SIGReg: embeddings must be distributed like an isotropic Gaussian (LeJEPA, Balestriero and LeCun 2025).

https://arxiv.org/abs/2511.08544
"""

import torch
from torch import Tensor

from ssl_lightning.distributed import mean_over_ranks, world_size
from ssl_lightning.losses.precision import in_float32


@in_float32()
def sigreg(z: Tensor, directions: Tensor, points: int = 17, limit: float = 3.0) -> Tensor:
    """Epps-Pulley statistic of the projections of `z` on random directions, averaged over these: scalar.

    Args:
        z: (B, K) embeddings.
        directions: (K, M) unit columns, the same on all ranks.
        points: number of points of the characteristic function, at which it is integrated by trapezoids.
        limit: they lie in [0, limit], and count twice, for -t and t; as in the authors' package, where the paper's
            Algorithm 1 has 17 points in [-5, 5].

    The characteristic function is that of the global batch; the statistic is multiplied by the number of its samples,
    as in the paper's code.
    """
    t = torch.linspace(0, limit, points, dtype=z.dtype, device=z.device)
    gaussian = torch.exp(-t.square() / 2)
    angle = (z @ directions.to(z.dtype))[:, :, None] * t  # (B, M, points)
    real, imaginary = mean_over_ranks(torch.stack([angle.cos().mean(dim=0), angle.sin().mean(dim=0)]))
    error = ((real - gaussian).square() + imaginary.square()) * gaussian  # (M, points)
    return 2 * torch.trapezoid(error, t, dim=1).mean() * len(z) * world_size()
