"""Frozen features of a split, each sample once, whatever the number of devices."""

from typing import Any

from torch import Tensor

from ssl_lightning.distributed import gather_variable_length, whole
from ssl_lightning.evaluation.features import evaluating, extract


def split_features(method: Any, data: Any, split: str) -> dict[str, Tensor]:
    """`features (N, D)`, `index (N,)` and, where the set has them, `labels (N,)` of 'probe_train', 'val' or 'test'.

    The method's weights, buffers and training flags are as before, and so is the global random state.
    """
    with evaluating(method), whole(method):
        return extract(
            lambda batch: embedded(method, data, batch),
            data.features_loader(split),
            method.device,
            gather_variable_length,
        )


def embedded(method: Any, data: Any, batch: dict[str, Any]) -> Tensor:
    """(B, D) of a raw batch, seen as in evaluation, in the precision of the method's weights."""
    view, key = data.modality.evaluation_view(batch), data.modality.key
    if view[key].is_floating_point():
        view[key] = view[key].to(next(method.parameters()).dtype)
    return method.embed(view, key)
