"""Reconstruction errors, and those of the best linear code of the same width: principal components (PCA)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ssl_lightning.errors import InputError


def principal_components(batches: Iterable[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Mean (P,) and the `count` orthonormal directions (P, count) of largest variance of rows (B, P), in float64.

    Keeps only sums: P x P numbers must fit into memory, the rows need not.

    Raises:
        InputError: no rows, or more directions than columns.
    """
    rows, total, products, shift = 0, torch.zeros(()), torch.zeros(()), torch.zeros(())
    for x in batches:
        if not rows:
            shift = x.mean(dim=0)  # close to the mean, which avoids cancellation below
        x = x - shift
        rows += len(x)
        total, products = total + x.double().sum(dim=0), products + (x.T @ x).double()
    if not rows or not 0 < count <= len(shift):
        raise InputError(f"{count} principal components cannot be had of {rows} rows of {shift.numel()} numbers")
    mean = total / rows
    _, directions = torch.linalg.eigh(products / rows - mean.outer(mean))  # ascending eigenvalues
    return shift.double() + mean, directions[:, -count:]


def pca_errors(x: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Mean squared error (B,) float64 of the projection of each row of x (B, P) onto `directions`."""
    x = x.double() - mean
    return (x - x @ directions @ directions.T).square().mean(dim=1)


def squared_errors(predicted: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Mean squared error (B,) float64 of each sample (B, ..., C, H, W) after multiplying channels by `scale` (C,)."""
    difference = (predicted.double() - target.double()) * scale.double()[:, None, None]
    return difference.square().flatten(1).mean(dim=1)
