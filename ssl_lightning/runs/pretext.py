"""A trained method does its pretext task on a batch."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from ssl_lightning.distributed import unsharded
from ssl_lightning.evaluation.features import evaluating
from ssl_lightning.randomness import seed_generators


@torch.no_grad()
def run_pretext_task(
    method: Any, batch: Mapping[str, Any], seed: int, options: Mapping[str, Any] | None = None
) -> dict[str, Tensor]:
    """The columns that `method.show` makes of a transformed batch, in evaluation mode: on the CPU, as float32.

    With `options`, those of `method.generate`. `seed` is that of masks and noise; the method and the global random
    state are as before. Empty if the method shows nothing.
    """
    weight = next(method.parameters())

    def fit(value: Tensor) -> Tensor:
        return value.to(weight.device, weight.dtype if value.is_floating_point() else None)

    gpus = [weight.device] if weight.device.type == "cuda" else []
    with evaluating(method), unsharded(method), torch.random.fork_rng(gpus):
        seed_generators(seed, seed, weight.device)
        fitted = apply_to_collection(dict(batch), Tensor, fit)
        columns = method.show(fitted) if options is None else method.generate(fitted, options)
    return {name: column.detach().float().cpu() for name, column in (columns or {}).items()}
