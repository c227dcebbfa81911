"""Projection and prediction heads."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mlp(
    *dims: int, norm: bool = True, out_norm: bool = False, activation: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Linear layers with activations between them, (B, dims[0]) -> (B, dims[-1]).

    Args:
        dims: widths of the input, the hidden layers and the output.
        norm: whether to batch-normalize the hidden layers (SimCLR, BYOL; not MoCo v2, DINO).
        out_norm: whether to batch-normalize the output, without learned scale and shift (MoCo v3, SimSiam).
    """
    layers: list[nn.Module] = []
    for width, out in pairwise(dims[:-1]):
        layers.append(nn.Linear(width, out, bias=not norm))
        layers += [nn.BatchNorm1d(out), activation()] if norm else [activation()]
    layers.append(nn.Linear(dims[-2], dims[-1], bias=not out_norm))
    if out_norm:
        layers.append(nn.BatchNorm1d(dims[-1], affine=False))
    return nn.Sequential(*layers)


class Prototypes(nn.Module):
    """Cosine similarities of projections (B, K) with P learned prototypes, (B, P): SwAV's, and DINO's last layer.

    SwAV's code normalizes the prototypes in place after each step, DINO's has weight normalization with a norm of 1.
    Normalizing them in the forward pass gives the same similarities, also where weights are sharded; they begin with a
    norm of 1, and a step turns them less as their norm grows.
    """

    def __init__(self, dim: int, prototypes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(prototypes, dim), dim=1))

    def forward(self, z: Tensor) -> Tensor:
        dtype = torch.promote_types(z.dtype, torch.float32)
        with torch.autocast(z.device.type, enabled=False):  # bfloat16 would round 0.1 of a logit at DINO's temperature
            return F.normalize(z.to(dtype), dim=1) @ F.normalize(self.weight.to(dtype), dim=1).T


def dino_head(in_dim: int, hidden_dim: int, bottleneck_dim: int, prototypes: int, norm: bool = False) -> nn.Sequential:
    """DINO's head (B, in_dim) -> (B, prototypes): three layers with GELU, and prototypes (Caron et al. 2021, App.
    C); `norm`: whether its hidden layers are batch-normalized, `use_bn_in_head` of the authors' code.
    """
    layers = mlp(in_dim, hidden_dim, hidden_dim, bottleneck_dim, norm=norm, activation=nn.GELU)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(layers, Prototypes(bottleneck_dim, prototypes))
