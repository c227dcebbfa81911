"""What commands, callbacks and networks need to know of a kind of data: images, clips of video, text."""

import os
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lightning.data.folder import files_at, label_files
from ssl_lightning.evaluation.features import extract
from ssl_lightning.evaluation.protocol import Protocol

Batch = dict[str, Any]
RawControl = tuple[str, Callable[[Tensor, int], dict[str, float]]]
"""Name of a control that learned nothing without labels, and its figures of the test set: of (rows of `probe_train`
whose labels it learns from, seed)."""

LARGEST_RAW = 5 * 10**8
"""Training sets of more numbers than this (4 GB as the linear probe solves them) have no control on raw inputs."""


@dataclass(frozen=True)
class UserInput:
    """What a user gave: a raw batch, the file of each sample or frame, and how many files were left out."""

    batch: Batch
    files: list[Path]
    left_out: int = 0


@dataclass(frozen=True)
class Samples:
    """N samples of a user: their names, raw batches of any of them, read when asked for, and labels where known."""

    names: Sequence[str]
    batch: Callable[[Sequence[int]], Batch]
    """Raises InputError where one of them cannot be read."""
    labels: np.ndarray | None = None
    classes: Sequence[str] | None = None


class Modality:
    """One kind of data. A DataModule holds it as `modality`; nothing else asks which kind it is."""

    name: ClassVar[str]
    key: ClassVar[str]
    """Of the network's input in a batch."""
    option: ClassVar[str] = "input"
    """By which a user of `ssl-generate` gives input: `input`, a file or folder, or `text`."""
    extensions: ClassVar[Set[str]] = frozenset()
    """Of the files that it is read from, in lower case."""
    raw_name: ClassVar[str] = "raw input"
    """Of the control that learned nothing."""
    augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None
    """What a linear probe by SGD makes of raw inputs at each step; None: there is no custom of the field."""
    thumbnails: Callable[[Batch], Tensor] | None = None
    """Pictures (B, C, H, W) in [0, 1] of a raw batch, to stand for it on a map; None: its samples are no pictures."""

    @property
    def sample_shape(self) -> tuple[int, ...] | None:
        """Of one input of the network, of floats; None: it has tokens, or no certain length."""
        return None

    @property
    def facts(self) -> Mapping[str, Any]:
        """What only the data knows and a network is built from, by name of the network's argument."""
        return {}

    def evaluation_view(self, batch: Batch) -> Batch:
        """A raw batch with its input as evaluation sees it."""
        raise NotImplementedError

    def read_input(self, given: str, limit: int) -> UserInput:
        """A raw batch of what a user gave: a file, or the first `limit` of a folder.

        Raises:
            InputError: it is not there, or cannot be read.
        """
        files = files_at(given, self.extensions, self.name)
        batch = {**self.read_samples(files[:limit]), "index": torch.arange(len(files[:limit]))}
        return UserInput(batch, files[:limit], len(files[limit:]))

    def find_samples(self, given: str) -> Samples:
        """A file, or those of a folder at any depth; class folders are labels.

        Raises:
            InputError: nothing is there.
        """
        place, files = Path(given).expanduser(), files_at(given, self.extensions, self.name)
        names = [os.path.relpath(file, place) if place.is_dir() else str(file) for file in files]
        labels, classes = label_files(names, names, place)
        return Samples(names, lambda rows: self.read_samples([files[row] for row in rows]), labels, classes)

    def read_samples(self, samples: Sequence[Any]) -> Batch:
        """A raw batch of samples in memory or in files, each as the subclass says, without `index`.

        Raises:
            InputError: one that is none of these, or cannot be read.
        """
        raise NotImplementedError

    def draw(self, columns: Mapping[str, Tensor], names: Sequence[str] = ()) -> Figure:
        """A figure of `columns` (B, ...), each like a network's input; `names` of the samples."""
        raise NotImplementedError

    def animate(self, columns: Mapping[str, Tensor], path: Path) -> bool:
        """Writes the columns as a film; False where nothing moves.

        Raises:
            OSError: it cannot be written.
        """
        return False

    @property
    def corruptions(self) -> Mapping[str, Sequence[Callable[[Batch], Batch]]]:
        """Corruptions of raw batches by kind, from weak to strong; none, where there is no custom of the field."""
        return {}

    def raw_control(self, data: Any, protocol: Protocol, device: torch.device) -> RawControl | None:
        """The protocol on the numbers of the inputs themselves; None if they are too many."""
        one = self._numbers(data.probe_train.__getitems__([0]))
        if len(data.probe_train) * one.numel() > LARGEST_RAW:
            return None
        probe_train, test = (
            extract(self._numbers, data.features_loader(split), "cpu") for split in ("probe_train", "test")
        )
        groups = data.groups("test")
        return self.raw_name, protocol.on_rows(probe_train, test, data.num_classes, device, groups=groups)

    def _numbers(self, batch: Batch) -> Tensor:
        return self.evaluation_view(batch)[self.key].flatten(1)
