"""Which parameters are decayed, adapted by LARS and orthogonalized by Muon."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from ssl_lightning.errors import InputError
from ssl_lightning.optim.schedules import momentum_cosine


def parameter_groups(module: nn.Module, outputs: Iterable[nn.Module] = ()) -> list[dict[str, Any]]:
    """Trainable parameters of `module` as parameter groups for any optimizer, in the order of the module.

    1. `hidden: True`: weights of linear and convolution layers, which `MuonAdamW` orthogonalizes.
    2. `hidden: False`: other tensors with two or more axes: embeddings, tokens, the first convolution, and the weights
       of `outputs`, such as a classifier. An embedding that a linear layer shares belongs here.
    3. `hidden: False, weight_decay: 0, always_adapt: False`: biases and norms, that is, tensors with at most one axis.
       `timm.optim.Lars` then takes plain SGD steps.

    Weight decay of groups 1 and 2 is the optimizer's own. Empty groups are left out.

    Raises:
        InputError: `module` has no trainable parameter.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise InputError(f"{type(module).__name__} has no trainable parameter")
    convolutions = (layer for layer in module.modules() if isinstance(layer, _ConvNd) and layer.weight.requires_grad)
    ends = [*islice(convolutions, 1), *outputs]
    others = [layer for layer in module.modules() if not _is_linear(layer)]
    not_hidden = {id(p) for layer in others for p in layer.parameters(recurse=False)}
    not_hidden |= {id(p) for layer in ends for p in layer.parameters()}
    vectors = {"weight_decay": 0.0, "always_adapt": False}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1 and id(p) not in not_hidden], "hidden": True},
        {"params": [p for p in trained if p.ndim > 1 and id(p) in not_hidden], "hidden": False},
        {"params": [p for p in trained if p.ndim <= 1], "hidden": False, **vectors},
    ]
    return [group for group in groups if group["params"]]


def output_layers(method: nn.Module) -> list[nn.Module]:
    """The last linear or convolution layer of each part of a method but its backbones, and a language model's head.

    What a `ModuleDict` holds stands side by side: each is a part.
    """
    children = [part for name, part in method.named_children() if not name.endswith("backbone")]
    parts = [part for child in children for part in (child.values() if isinstance(child, nn.ModuleDict) else [child])]
    layers = [[layer for layer in part.modules() if _is_linear(layer)] for part in parts]
    head = getattr(getattr(method, "backbone", None), "vocabulary_head", None)
    return [*(found[-1] for found in layers if found), *([] if head is None else [head])]


def _is_linear(layer: nn.Module) -> bool:
    """Also GPT-2's layers in transformers, whose weights are transposed."""
    return isinstance(layer, (nn.Linear, nn.MultiheadAttention, _ConvNd)) or type(layer).__name__ == "Conv1D"


def decayed_to(groups: list[dict[str, Any]], end: float | None) -> list[dict[str, Any]]:
    """The groups, whose weight decay approaches `end`, but for those with one of their own; None: it is constant."""
    return [group if end is None or "weight_decay" in group else {**group, "weight_decay_end": end} for group in groups]


def move_weight_decay(optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Moves `weight_decay` of each group that has a `weight_decay_end` along a cosine towards it (DINO, Caron et al.
    2021, https://arxiv.org/abs/2104.14294, Sec. 3.2), `progress` in [0, 1] of the training being done.
    """
    for group in optimizer.param_groups:
        if "weight_decay_end" in group:
            begin = group.setdefault("weight_decay_begin", group["weight_decay"])
            group["weight_decay"] = momentum_cosine(progress, begin, group["weight_decay_end"])
