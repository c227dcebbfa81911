"""Frozen features: of a split, each sample once, whatever the number of devices; and of whatever a user gives."""

import hashlib
import inspect
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

import ssl_lightning
from ssl_lightning.distributed import gather_variable_length, unsharded
from ssl_lightning.errors import InputError, warn
from ssl_lightning.evaluation.features import evaluating, extract, fingerprint, spread
from ssl_lightning.evaluation.health import alignment, effective_rank, uniformity
from ssl_lightning.runs.checkpoints import read_tensors, serialized
from ssl_lightning.runs.folder import written_beside

Encode = Callable[[dict[str, Any]], Tensor]
"""From a raw batch to (B, D)."""

_MOST_BYTES = 2**33
"""Of all features that are kept; the ones that were not used for longest go first."""


def part_features(method: Any, data: Any, part: Any, encode: Encode | None = None) -> dict[str, Tensor]:
    """`features (N, D)`, `index (N,)` and, where it has them, `labels (N,)` of a set like those of `data`.

    The method's weights, buffers and training flags are as before, and so is the global random state. `encode`: what
    takes the place of the embedding.
    """
    encode = encode or partial(embedded, method, data)
    with evaluating(method), unsharded(method):
        return extract(encode, data.loader_of(part), method.device, gather_variable_length)


@dataclass
class FrozenFeatures:
    """`part_features` that are extracted once and kept, in `data.features_cache` also for later commands.

    What is kept is known by its content: weights, settings and source code of the encoder, samples and view.
    """

    data: Any
    stamps: dict[Any, bytes] = field(default_factory=dict)
    found: dict[Path, dict[str, Tensor]] = field(default_factory=dict)

    def __call__(self, encoder: Any, part: Any, view: str = "", encode: Encode | None = None) -> dict[str, Tensor]:
        """`view`: says what `encode` does."""
        if encoder not in self.stamps:
            self.stamps[encoder] = _stamp(encoder, self.data.modality)
        known = [self.stamps[encoder], fingerprint(part).encode(), view.encode()]
        file = self.data.features_cache / f"{hashlib.sha256(b' '.join(known)).hexdigest()[:24]}.pt"
        if file not in self.found:
            try:
                os.utime(file)
                self.found[file] = read_tensors(file)
            except (OSError, InputError):
                self.found[file] = part_features(encoder, self.data, part, encode)
                _keep(self.found[file], file)
        return self.found[file]


def _stamp(encoder: nn.Module, modality: Any) -> bytes:
    """Digest of all that makes the features of a sample: weights, settings of the parts, and the source code."""
    made, sources = hashlib.sha256(), set(Path(ssl_lightning.__file__).parent.rglob("*.py"))
    for part in (*encoder.modules(), modality):
        plain = {key: value for key, value in vars(part).items() if isinstance(value, int | float | str | tuple)}
        plain.pop("training", None)
        made.update(f"{type(part)} {sorted(plain.items())}".encode())
        sources.add(Path(inspect.getfile(type(part))))
    for name, weight in encoder.state_dict().items():
        made.update(f"{name} {weight.device.type}".encode())
        made.update(weight.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    for source in sorted(sources):
        made.update(_code(source))
    return made.digest()


@cache
def _code(source: Path) -> bytes:
    """Digest of a file, which Python does not read again either."""
    return hashlib.sha256(source.read_bytes()).digest()


def _keep(features: dict[str, Tensor], file: Path) -> None:
    """Writes a file, for which others make room."""
    try:
        with written_beside(file) as beside:
            beside.write_bytes(serialized(features))
    except OSError as error:
        warn(f"features are not kept in {file.parent} ({error.strerror})")
    size = 0
    with suppress(OSError):  # another process makes room, too
        for kept in sorted(file.parent.iterdir(), key=lambda kept: kept.stat().st_mtime, reverse=True):
            size += kept.stat().st_size
            if size > _MOST_BYTES:
                kept.unlink()


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
        batch = move_data_to_device(raw, device)
        return embedded(self.method, self.data, batch).float()


def embedded(method: Any, data: Any, batch: dict[str, Any]) -> Tensor:
    """(B, D) of a raw batch, seen as in evaluation, in the precision of the method's weights."""
    view, key = data.modality.evaluation_view(batch), data.modality.key
    if view[key].is_floating_point():
        view[key] = view[key].to(next(method.parameters()).dtype)
    return method.embed(view, key)


def label_free_figures(method: Any, data: Any, samples: int = 512) -> dict[str, float]:
    """Effective rank, uniformity and, where the transform makes two views, alignment of the frozen embedding.

    Of at most `samples` held-out samples, evenly spread, or training samples where one or none is held out. The
    method is left as `part_features` leaves it.
    """
    whole = data.train if data.val is None or len(data.val) < 2 else data.val
    part = whole.subset(spread(len(whole), samples))
    h = part_features(method, data, part)["features"]
    figures = {"probe/effective_rank": float(effective_rank(h)), "probe/uniformity": float(uniformity(h))}
    if "views" in getattr(data.transform, "produces", ()):
        starts = range(0, len(part), data.batch_size)
        with torch.no_grad(), evaluating(method), unsharded(method):
            pairs = [_two_views(method, data, part, start) for start in starts]  # of whole batches, on all ranks alike
        first, *second = map(torch.cat, zip(*pairs, strict=True))
        if second:
            figures["probe/alignment"] = float(alignment(first, *second))
    return figures


def _two_views(method: Any, data: Any, part: Any, start: int) -> list[Tensor]:
    """Two views, or the only one, of the batch of `part` that begins at `start`, embedded: (B, D) each."""
    raw = part.__getitems__(range(start, min(start + data.batch_size, len(part))))
    views = data.augment(move_data_to_device(raw, method.device), data.seed + start)["views"]
    key, dtype = data.modality.key, next(method.parameters()).dtype
    return [method.embed({key: view.to(dtype)}, key) for view in views[:2]]
