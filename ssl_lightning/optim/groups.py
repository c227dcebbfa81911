"""Which parameters are decayed, adapted (LARS) and orthogonalized (Muon)."""

from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ssl_lightning.errors import InputError

_LINEAR = "Conv1D"
"""What transformers calls the linear layers of GPT-2, whose weights are transposed."""


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters of `module` as parameter groups for any optimizer, in the order of the module.

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
    }
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
