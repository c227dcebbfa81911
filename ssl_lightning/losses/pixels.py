"""Errors of predicted images."""

from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.losses.precision import in_float32


@in_float32()
def channel_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each channel, (C,), between two (..., C, H, W) tensors.

    For normalized images, multiply it by the squared `std` of the normalization to get raw pixel units.
    """
    _same_shape(predicted, target)
    others = [axis for axis in range(target.ndim) if axis != target.ndim - 3]
    return (predicted - target).square().mean(dim=others)


@in_float32()
def gradient_difference(predicted: Tensor, target: Tensor) -> Tensor:
    """Gradient difference loss: how much the absolute image gradients differ; scalar, from two (..., H, W) tensors.

    Mathieu, Couprie and LeCun 2015 (https://arxiv.org/abs/1511.05440), Eq. 6 with alpha = 1. Deviation: the mean over
    both directions and all neighboring pixels instead of the sum.
    """
    _same_shape(predicted, target)
    across, down = ((predicted.diff(dim=d).abs() - target.diff(dim=d).abs()).abs().mean() for d in (-1, -2))
    return (across + down) / 2


def _same_shape(predicted: Tensor, target: Tensor) -> None:
    if predicted.shape != target.shape or predicted.ndim < 3:
        raise InputError(
            f"images painted are {tuple(predicted.shape)} and their targets {tuple(target.shape)}:"
            " both must be (..., C, H, W); the transform must make images of data.image_size"
        )
