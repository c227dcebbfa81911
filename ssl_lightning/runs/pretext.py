"""A trained method does its pretext task on a batch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_lightning.distributed import unsharded
from ssl_lightning.evaluation.features import evaluating


@torch.no_grad()
def run_pretext_task(method: Any, batch: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """The columns that `method.show` makes of a transformed batch, in evaluation mode: on the CPU, as float32.

    `seed` is that of masks and noise; the method and the global random state are as before.
    """
    weight = next(method.parameters())

    def fit(value: Any) -> Any:
        if isinstance(value, list):
            return [fit(x) for x in value]
        if not isinstance(value, Tensor):
            return value
        return value.to(weight.device, weight.dtype if value.is_floating_point() else None)

    gpus = [weight.device] if weight.device.type == "cuda" else []
    with evaluating(method), unsharded(method), torch.random.fork_rng(gpus):
        torch.manual_seed(seed)
        columns = method.show({key: fit(value) for key, value in batch.items()})
    return {name: column.detach().float().cpu() for name, column in columns.items()}
