"""Projection and prediction heads."""

from torch import nn


def mlp(in_dim: int, hidden_dim: int, out_dim: int, *, norm: bool = True, out_norm: bool = False) -> nn.Sequential:
    """Two linear layers with ReLU between them, (B, in_dim) -> (B, out_dim): the projector of SimCLR, MoCo v2 and BYOL.

    Args:
        norm: whether to batch-normalize the hidden layer (SimCLR, BYOL; not MoCo v2).
        out_norm: whether to batch-normalize the output, without learned scale and shift (SimCLR's code; MoCo v3).
    """
    layers: list[nn.Module] = [nn.Linear(in_dim, hidden_dim, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm1d(hidden_dim))
    layers += [nn.ReLU(inplace=True), nn.Linear(hidden_dim, out_dim, bias=not out_norm)]
    if out_norm:
        layers.append(nn.BatchNorm1d(out_dim, affine=False))
    return nn.Sequential(*layers)
