"""Frozen features: of a split, each sample once, whatever the number of devices; and of whatever a user gives."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssl_lightning.distributed import gather_variable_length, unsharded
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.features import evaluating, extract, spread
from ssl_lightning.evaluation.health import alignment, effective_rank, uniformity


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


@dataclass
class FrozenFeatures:
    """Features of `encoders`, by name, on the splits of `data`: each extracted once, when it is first asked for."""

    encoders: dict[str, Any]
    data: Any
    found: dict[tuple[str, str], dict[str, Tensor]] = field(default_factory=dict)

    def __call__(self, name: str, split: str) -> dict[str, Tensor]:
        if (name, split) not in self.found:
            self.found[name, split] = split_features(self.encoders[name], self.data, split)
        return self.found[name, split]


def part_features(method: Any, data: Any, part: Any, encode: Callable[[dict[str, Any]], Tensor]) -> dict[str, Tensor]:
    """The same of any set like those of `data`, on this process alone; `encode`: from a raw batch to (B, D)."""
    batches = (part.__getitems__(rows) for rows in torch.arange(len(part)).split(data.batch_size))
    with evaluating(method):
        return extract(encode, batches, method.device)


@torch.no_grad()
def features_of(method: Any, data: Any, part: Any, rows: Sequence[int]) -> Tensor:
    """(len(rows), D) float32 on the CPU, of some samples of a set; every rank computes the same."""
    with evaluating(method), unsharded(method):
        return torch.cat([embedded(method, data, batch).float().cpu() for batch in _batches(method, data, part, rows)])


def _batches(method: Any, data: Any, part: Any, rows: Any) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(rows), data.batch_size):
        batch = part.__getitems__(rows[start : start + data.batch_size])
        yield {name: value.to(method.device) for name, value in batch.items()}


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
            inputs: images (B, C, H, W) uint8, clips (B, T, C, H, W) uint8, tokens (B, N) int64 or sound (B, S) in
                [-1, 1]; or a sequence of image files, PIL images, clips (sequences of these), texts, files of sound or
                recordings (n,).

        Raises:
            InputError: inputs that the run does not read.
        """
        if isinstance(inputs, str | Path):
            raise InputError(f"give a list: [{str(inputs)!r}]")
        array = isinstance(inputs, Tensor | np.ndarray)
        modality, device = self.data.modality, next(self.method.parameters()).device
        raw = {modality.key: torch.as_tensor(inputs)} if array else modality.read_samples(inputs)
        batch = {name: value.to(device) for name, value in raw.items()}
        return embedded(self.method, self.data, batch).float()


def embedded(method: Any, data: Any, batch: dict[str, Any]) -> Tensor:
    """(B, D) of a raw batch, seen as in evaluation, in the precision of the method's weights."""
    view, key = data.modality.evaluation_view(batch), data.modality.key
    if view[key].is_floating_point():
        view[key] = view[key].to(next(method.parameters()).dtype)
    return method.embed(view, key)


def label_free_figures(method: Any, data: Any, samples: int = 512) -> dict[str, float]:
    """Effective rank, uniformity and, where the transform makes two views, alignment of the frozen embedding.

    Of at most `samples` held-out samples, evenly spread, or training samples where none are held out; every rank
    measures the same. The method is left as `split_features` leaves it.
    """
    part = data.train if data.val is None else data.val
    rows, key = spread(len(part), samples), data.modality.key
    paired = "views" in getattr(data.transform, "produces", ())
    plain, pairs = [], []
    with torch.no_grad(), evaluating(method), unsharded(method):
        for number, batch in enumerate(_batches(method, data, part, rows)):
            plain.append(embedded(method, data, batch).float())
            views = data.augment(batch, data.seed + number * data.batch_size)["views"] if paired else []
            if len(views) > 1:
                dtype = next(method.parameters()).dtype
                pairs.append([method.embed({key: view.to(dtype)}, key) for view in views[:2]])
    h = torch.cat(plain)
    figures = {"probe/effective_rank": float(effective_rank(h)), "probe/uniformity": float(uniformity(h))}
    if pairs:
        figures["probe/alignment"] = float(alignment(*map(torch.cat, zip(*pairs, strict=True))))
    return figures
