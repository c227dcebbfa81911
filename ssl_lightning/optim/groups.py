"""Which parameters are decayed, adapted by LARS and orthogonalized by Muon."""

from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ssl_lightning.errors import InputError

_LINEAR = "Conv1D"
"""The name of GPT-2's linear layers in transformers; their weights are transposed."""


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters of `module` as parameter groups for any optimizer, in the order of the module.

    1. `hidden: True`: weights of linear and convolution layers, which `MuonAdamW` orthogonalizes.
    2. `hidden: False`: other tensors with two or more axes, such as embeddings and tokens. An embedding that a linear
       layer shares belongs here.
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
    }
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
