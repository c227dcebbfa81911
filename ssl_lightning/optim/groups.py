"""Which parameters are decayed, adapted by LARS and orthogonalized by Muon."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from ssl_lightning.errors import InputError
from ssl_lightning.optim.schedules import momentum_cosine

_LINEAR = "Conv1D"
"""The name of GPT-2's linear layers in transformers; their weights are transposed."""


def parameter_groups(module: nn.Module, outputs: Iterable[nn.Module] = ()) -> list[dict[str, Any]]:
    """Trainable parameters of `module` as parameter groups for any optimizer, in the order of the module.

    1. `hidden: True`: weights of linear and convolution layers, which `MuonAdamW` orthogonalizes.
    2. `hidden: False`: other tensors with two or more axes, such as embeddings and tokens. An embedding that a linear
       layer shares belongs here, and so do the weights of `outputs`, such as a classifier.
    3. `hidden: False, weight_decay: 0, always_adapt: False`: biases and norms, that is, tensors with at most one axis.
       `timm.optim.Lars` then takes plain SGD steps.

    Weight decay of groups 1 and 2 is the optimizer's own. Empty groups are left out.

    Raises:
        InputError: `module` has no trainable parameter.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise InputError(f"{type(module).__name__} has no trainable parameter")
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
        {"params": vectors, "hidden": False, "weight_decay": 0.0, "always_adapt": False},
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
