"""Frozen features of a split, each sample once, whatever the number of devices."""

from typing import Any

import torch
from torch import Tensor

from ssl_lightning.distributed import gather_variable_length, whole
from ssl_lightning.evaluation.features import evaluating, extract
from ssl_lightning.evaluation.health import alignment, effective_rank, uniformity


def split_features(method: Any, data: Any, split: str) -> dict[str, Tensor]:
    """`features (N, D)`, `index (N,)` and, where the set has them, `labels (N,)` of 'probe_train', 'val' or 'test'.

    The method's weights, buffers and training flags are as before, and so is the global random state.
    """
    key = data.provides[0]
    with evaluating(method), whole(method):
        return extract(
            lambda x: _embed(method, data.evaluation_view({key: x})[key]),
            data.features_loader(split),
            method.device,
            gather_variable_length,
            key,
        )


def label_free_figures(method: Any, data: Any, samples: int = 512) -> dict[str, float]:
    """Effective rank, uniformity and, where the transform makes two views, alignment of the frozen embedding.

    Of at most `samples` held-out samples, evenly spread, or training samples where none are held out; every rank
    measures the same. The method is left as `split_features` leaves it.
    """
    part = data.train if data.val is None else data.val
    count, key = min(samples, len(part)), data.provides[0]
    rows = [row * len(part) // count for row in range(count)]
    plain, first, second = [], [], []
    with torch.no_grad(), evaluating(method), whole(method):
        for start in range(0, count, data.batch_size):
            batch = part.__getitems__(rows[start : start + data.batch_size])
            batch = {name: value.to(method.device) for name, value in batch.items()}
            plain.append(_embed(method, data.evaluation_view({key: batch[key]})[key]).float())
            views = data.augment(batch, data.seed + start)["views"] if "views" in data.transform.produces else []
            if len(views) > 1:
                first.append(_embed(method, views[0]))
                second.append(_embed(method, views[1]))
    h = torch.cat(plain)
    figures = {"probe/effective_rank": float(effective_rank(h)), "probe/uniformity": float(uniformity(h))}
    if first:
        figures["probe/alignment"] = float(alignment(torch.cat(first), torch.cat(second)))
    return figures


def _embed(method: Any, x: Tensor) -> Tensor:
    return method(x.to(next(method.parameters()).dtype) if x.is_floating_point() else x)


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
