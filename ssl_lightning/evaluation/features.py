"""Features of a frozen encoder over a whole data set."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts `module` into evaluation mode; restores the mode of each submodule at the end."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@torch.no_grad()
def extract(
    encode: Callable[[dict[str, Any]], Tensor],
    batches: Iterable[dict[str, Any]],
    device: torch.device | str,
    gather: Callable[[Tensor], Tensor] = lambda rows: rows,
) -> dict[str, Tensor]:
    """`{"features": (N, D) float32, "index": (N,), "labels": (N,)}` on the CPU, without gradient, ordered by `index`.

    A sample that occurs twice (padding of a distributed sampler) counts once. "labels" is absent if batches have no
    "label".

    Args:
        encode: from a batch on `device` to (B, D).
        gather: concatenates the rows of all ranks (`distributed.gather_variable_length`).

    Raises:
        InputError: the features are not (B, D), or there are no samples.
    """
    parts: dict[str, list[Tensor]] = {"features": [], "index": [], "labels": []}
    for batch in batches:
        features = encode({key: value.to(device, non_blocking=True) for key, value in batch.items()})
        if features.ndim != 2:
            raise InputError(f"an encoder must return (B, D) features, got {tuple(features.shape)}")
        parts["features"].append(features.float().cpu())
        parts["index"].append(batch["index"].cpu())
        if "label" in batch:
            parts["labels"].append(batch["label"].cpu())

    if gather(torch.tensor([[len(parts["index"])]], device=device)).min() == 0:
        raise InputError("no samples to extract features from: the data set (or a rank's share of it) is empty")
    found = {name: gather(torch.cat(part).to(device)).cpu() for name, part in parts.items() if part}
    first = np.unique(found["index"].numpy(), return_index=True)[1]
    return {name: values[first] for name, values in found.items()}


def spread(total: int, count: int) -> np.ndarray:
    """`count` of the rows 0 to `total` - 1, evenly spread; all, if there are no more."""
    return np.arange(min(total, count)) * total // max(1, min(total, count))


def groups_of(dataset: Any) -> Tensor | None:
    """(N,): which samples of a set come from one original, in its order; None if none or all do."""
    groups = dataset.groups
    return None if groups is None or len(np.unique(groups)) == 1 else torch.as_tensor(groups)


def fingerprint(dataset: Any, samples: int = 1000) -> str:
    """Twelve hexadecimal digits of a set: its size, its labels, and so many of its samples, evenly spread."""
    batch = dataset.__getitems__(spread(len(dataset), samples))
    labels = [] if dataset.labels is None else [np.asarray(dataset.labels).tobytes()]
    values = [batch[key].numpy().tobytes() for key in sorted(batch)]
    return hashlib.sha256(b"".join([str(len(dataset)).encode(), *labels, *values])).hexdigest()[:12]
