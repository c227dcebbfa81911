"""Frozen features of a split, each sample once, whatever the number of devices."""

from typing import Any

import torch
from torch import Tensor

from ssl_lightning.distributed import gather_variable_length, unsharded
from ssl_lightning.evaluation.features import evaluating, extract


def split_features(method: Any, data: Any, split: str) -> dict[str, Tensor]:
    """`features (N, D)`, `index (N,)` and, where the set has them, `labels (N,)` of 'probe_train', 'val' or 'test'.

    The method's weights, buffers and training flags are as before, and so is the global random state.
    """
    key = data.provides[0]
    weight = next(method.parameters())

    def embed(x: Tensor) -> Tensor:
        x = data.evaluation_view({key: x})[key]
        return method(x.to(weight.dtype) if x.is_floating_point() else x)

    with evaluating(method), unsharded(method):
        return extract(embed, data.features_loader(split), method.device, gather_variable_length, key)


def split_groups(data: Any, split: str) -> Tensor | None:
    """Which samples of a split were drawn from one original, in the order of `split_features`; None: none were."""
    groups = getattr(data, split).groups
    return None if groups is None else torch.as_tensor(groups)


def raw_features(data: Any, split: str) -> dict[str, Tensor]:
    """The inputs themselves, flattened, in the place of features: a control that learned nothing."""
    key = data.provides[0]
    return extract(
        lambda x: data.evaluation_view({key: x})[key].flatten(1), data.features_loader(split), "cpu", key=key
    )
