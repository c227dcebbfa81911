"""Losses of what was hidden: pixels of patches (MAE, SimMIM) and representations of patches (I-JEPA)."""

import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.losses.precision import at_least_float32


def normalized_patches(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each patch (..., P) with mean 0 and variance 1 of its own pixels, that mean and that deviation (..., 1).

    He et al. 2021, https://arxiv.org/abs/2111.06377, Sec. 3 and code: unbiased variance, plus 1e-6 under the root, so
    that a patch of one color becomes 0.
    """
    patches = at_least_float32(patches)
    mean = patches.mean(dim=-1, keepdim=True)
    deviation = (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    return (patches - mean) / deviation, mean, deviation


def masked_mse(predicted: Tensor, target: Tensor) -> Tensor:
    """MAE: mean squared error over the pixels of masked patches, scalar. Both (B, M, P), of the masked alone."""
    _check(predicted, target, "masked_mse")
    return F.mse_loss(at_least_float32(predicted), at_least_float32(target.detach()))


def masked_l1(predicted: Tensor, target: Tensor, masked: Tensor) -> Tensor:
    """SimMIM: mean absolute error over the pixels of masked patches, scalar.

    Xie et al. 2021, https://arxiv.org/abs/2111.09886, Eq. 1. `predicted` and `target` (B, N, P), `masked` (B, N) bool,
    with one patch masked in every image at least. It is the mean of the images' means, so that ranks can be averaged:
    where all images have equally many masked patches, as in the paper, it is the mean over all masked pixels.
    """
    _check(predicted, target, "masked_l1")
    error = (at_least_float32(predicted) - at_least_float32(target.detach())).abs().mean(dim=2)
    weight = masked.to(error.dtype)
    return ((error * weight).sum(dim=1) / weight.sum(dim=1)).mean()


def smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """I-JEPA: smooth absolute error of representations, scalar; `target` is normalized first, over its last axis.

    Assran et al. 2023, https://arxiv.org/abs/2301.08243; layer norm of the target and the smooth loss (quadratic below
    1) are those of the authors' code, the paper's Eq. 1 has the squared distance. Both (..., D).
    """
    _check(predicted, target, "smooth_l1")
    target = at_least_float32(target.detach())
    return F.smooth_l1_loss(at_least_float32(predicted), F.layer_norm(target, target.shape[-1:]))


def _check(predicted: Tensor, target: Tensor, name: str) -> None:
    if predicted.shape != target.shape:
        raise InputError(f"{name} needs two tensors alike, got {tuple(predicted.shape)} and {tuple(target.shape)}")
