"""Frozen features: of a split, each sample once, whatever the number of devices; and of whatever a user gives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssl_lightning.distributed import gather_variable_length, unsharded
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.features import evaluating, extract


def split_features(method: Any, data: Any, split: str) -> dict[str, Tensor]:
    """`features (N, D)`, `index (N,)` and, where the set has them, `labels (N,)` of 'probe_train', 'val' or 'test'.

    The method's weights, buffers and training flags are as before, and so is the global random state.
    """
    with evaluating(method), unsharded(method):
        return extract(
            lambda batch: embedded(method, data, batch),
            data.features_loader(split),
            method.device,
            gather_variable_length,
        )


class Encoder(nn.Module):
    """The frozen encoder of a run with its preprocessing; it stays in evaluation mode."""

    def __init__(self, method: nn.Module, data: Any) -> None:
        super().__init__()
        self.method, self.data = method.requires_grad_(False), data
        super().train(False)

    def train(self, mode: bool = True) -> "Encoder":
        """Does nothing."""
        return self

    @torch.no_grad()
    def forward(self, inputs: Tensor | np.ndarray | Sequence[Any]) -> Tensor:
        """Embeddings (B, D) float32, on the device of the weights.

        Args:
            inputs: images (B, C, H, W) uint8, clips (B, T, C, H, W) uint8 or tokens (B, N) int64; or a sequence of
                image files, PIL images, clips (sequences of these) or texts.

        Raises:
            InputError: inputs that the run does not read.
        """
        if isinstance(inputs, str | Path):
            raise InputError(f"give a list: [{str(inputs)!r}]")
        array = isinstance(inputs, Tensor | np.ndarray)
        raw = torch.as_tensor(inputs) if array else self.data.modality.read_samples(inputs)
        batch = {self.data.modality.key: raw.to(next(self.method.parameters()).device)}
        return embedded(self.method, self.data, batch).float()


def embedded(method: Any, data: Any, batch: dict[str, Any]) -> Tensor:
    """(B, D) of a raw batch, seen as in evaluation, in the precision of the method's weights."""
    view, key = data.modality.evaluation_view(batch), data.modality.key
    if view[key].is_floating_point():
        view[key] = view[key].to(next(method.parameters()).dtype)
    return method.embed(view, key)
