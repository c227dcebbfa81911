"""Which parameters are decayed, adapted (LARS) and orthogonalized (Muon)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from ssl_lightning.errors import InputError
from ssl_lightning.optim.schedules import momentum_cosine

_LINEAR = "Conv1D"
"""What transformers calls the linear layers of GPT-2, whose weights are transposed."""


def parameter_groups(module: nn.Module, outputs: Iterable[nn.Module] = ()) -> list[dict[str, Any]]:
    """Trainable parameters of `module` as parameter groups for any optimizer, in the order of the module.

    `outputs`: layers whose weights Muon must not orthogonalize, as those of a classifier.

    First the tensors of two axes or more, which the optimizer's own weight decay acts on: weights of linear and
    convolution layers (`hidden: True`, what `MuonAdamW` orthogonalizes), then all others, as embeddings and tokens
    (`hidden: False`). Last those of one axis or none, biases and norms: `weight_decay: 0, adapt: False`. A tensor that
    an embedding and a linear layer share is an embedding. Empty groups are left out.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise InputError(f"{type(module).__name__} has no parameter that is trained")
    not_hidden = {
        id(p)
        for owner in module.modules()
        for p in owner.parameters(recurse=False)
        if not isinstance(owner, (nn.Linear, nn.MultiheadAttention, _ConvNd)) and type(owner).__name__ != _LINEAR
    } | {id(p) for layer in outputs for p in layer.parameters()}
    hidden: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for p in trained:
        (vectors if p.ndim <= 1 else other if id(p) in not_hidden else hidden).append(p)
    groups = [
        {"params": hidden, "hidden": True},
        {"params": other, "hidden": False},
        {"params": vectors, "hidden": False, "weight_decay": 0.0, "adapt": False},
    ]
    return [group for group in groups if group["params"]]


def move_weight_decay(optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Moves `weight_decay` of each group that has a `weight_decay_end` along a cosine towards it (DINO, Caron et al.
    2021, https://arxiv.org/abs/2104.14294, Sec. 3.2), `progress` in [0, 1] of the training being done.
    """
    for group in optimizer.param_groups:
        if "weight_decay_end" in group:
            begin = group.setdefault("weight_decay_begin", group["weight_decay"])
            group["weight_decay"] = momentum_cosine(progress, begin, group["weight_decay_end"])
