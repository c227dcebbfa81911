"""Losses over masked patches: their pixels (MAE, SimMIM) or their representations (I-JEPA)."""

import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.losses.precision import in_float32


@in_float32()
def normalized_patches(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Patches (..., P) normalized to mean 0 and variance 1 each, and their means and deviations, (..., 1) each.

    He et al. 2021, https://arxiv.org/abs/2111.06377, Sec. 3 and code: unbiased variance, plus 1e-6 under the root, so
    a patch of a single color becomes 0.
    """
    mean = patches.mean(dim=-1, keepdim=True)
    deviation = (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    return (patches - mean) / deviation, mean, deviation


@in_float32(same=2, axes=3)
def masked_mse(predicted: Tensor, target: Tensor) -> Tensor:
    """MAE: mean squared error over the pixels of the masked patches, both (B, M, P): scalar."""
    return F.mse_loss(predicted, target.detach())


@in_float32(same=2, axes=3)
def masked_l1(predicted: Tensor, target: Tensor, masked: Tensor) -> Tensor:
    """SimMIM: mean absolute error over the pixels of masked patches, scalar.

    Xie et al. 2021, https://arxiv.org/abs/2111.09886, Eq. 1. `predicted`, `target`: (B, N, P). `masked`: (B, N) bool,
    True at least once per image. The loss is the mean over images of each image's mean, so it can be averaged over
    ranks. If all images have equally many masked patches, as in the paper, it is the mean over all masked pixels.
    """
    error = (predicted - target.detach()).abs().mean(dim=2)
    weight = masked.to(error.dtype)
    return ((error * weight).sum(dim=1) / weight.sum(dim=1)).mean()


@in_float32(same=2)
def smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """I-JEPA: smooth L1 error (quadratic below 1) to the layer-normalized `target`, both (..., D): scalar.

    Assran et al. 2023, https://arxiv.org/abs/2301.08243. Layer norm and smooth L1 follow the authors' code; the paper
    has the squared distance (Sec. 3).
    """
    target = target.detach()
    return F.smooth_l1_loss(predicted, F.layer_norm(target, target.shape[-1:]))
