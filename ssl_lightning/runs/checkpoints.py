"""Checkpoint files: written beside and renamed, read without running code."""

import io
import os
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from ssl_lightning.errors import InputError, described, warn
from ssl_lightning.runs.folder import RunFolder, written_beside


class CorruptCheckpointError(InputError):
    """A file that is no whole checkpoint any more; another one may be."""


def serialized(content: dict[str, Any]) -> memoryview:
    """What `torch.save` writes; it would answer a full disk by a RuntimeError of its own."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes a whole checkpoint or none: `path` always holds the newest complete one.

    Of `last.ckpt` the one before it is kept as `previous.ckpt`, where the disk has room for three of them.

    Raises:
        OSError: the disk is full or not writable; what was at `path` is still there.
    """
    content = serialized(checkpoint)
    previous = path.with_name("previous.ckpt") if path.name == "last.ckpt" else None
    with written_beside(path) as beside:
        try:
            beside.write_bytes(content)
        except OSError:
            if previous is None or not previous.exists():
                raise
            previous.unlink()
            beside.write_bytes(content)
        if previous is not None and path.exists():
            _keep(path, previous)


def _keep(path: Path, previous: Path) -> None:
    previous.unlink(missing_ok=True)
    try:
        os.link(path, previous)
    except OSError:  # a file system without hard links
        os.replace(path, previous)


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The checkpoint of a run.

    Raises:
        InputError: as `read_tensors`, or not what a run saves.
        CorruptCheckpointError: as `read_tensors`.
    """
    loaded = read_tensors(Path(path), map_location)
    if not (isinstance(loaded, dict) and _has(loaded, {"state_dict": dict, "global_step": int})):
        raise InputError(f"{path} is not the checkpoint of a run")
    return loaded


def read_tensors(path: Path, map_location: Any = "cpu") -> Any:
    """Loads tensors and plain values only; nothing in the file is executed.

    Raises:
        InputError: no such file, or one that holds more than tensors and plain values.
        CorruptCheckpointError: cut off, or some of its bytes are not those that were written.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as content:
            if any(entry.compress_size != entry.file_size for entry in content.infolist()):
                raise zipfile.BadZipFile("it is compressed, which no checkpoint is")
            wrong = content.testzip()  # torch.load itself does not look at the checksums
        if wrong is not None:
            raise zipfile.BadZipFile(f"the checksum of {wrong} is wrong")
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} holds more than tensors and plain values and is not loaded") from error
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise CorruptCheckpointError(f"{path} is damaged or not a checkpoint ({described(error)})") from error


def _has(content: dict[str, Any], kinds: dict[str, type]) -> bool:
    return all(isinstance(content.get(name), kind) for name, kind in kinds.items())


_TRAINING = {"optimizer_states": list, "lr_schedulers": list, "loops": dict, "callbacks": dict, "epoch": int}
"""What a training that resumes needs besides the weights."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file that has been read."""

    path: Path
    content: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps before it was written."""
        return int(self.content["global_step"])

    def load_into(self, method: Any) -> None:
        """Gives a method the weights.

        Raises:
            InputError: they are those of another architecture, or not finite.
        """
        try:
            method.load_state_dict(self.content["state_dict"])
        except RuntimeError as error:
            raise InputError(f"{self.path} does not fit the model of this run") from error
        if not all(weight.isfinite().all() for weight in method.parameters()):
            raise InputError(f"the weights in {self.path} are not finite: their training diverged")


def newest_checkpoint(run: RunFolder) -> Checkpoint | None:
    """The newest whole checkpoint of a run, and a line about damaged ones; None: there is none.

    Raises:
        InputError: there are some, and all are damaged.
    """
    damaged = []
    for path in run.checkpoints:
        try:
            found = Checkpoint(path, read_checkpoint(path))
        except CorruptCheckpointError as error:
            damaged.append(str(error))
            continue
        if not _has(found.content, _TRAINING):
            raise InputError(f"{path} holds weights alone: no training can resume from it")
        if damaged:
            rank_zero_only(warn)(f"{'; '.join(damaged)}; resuming from {path.name}, step {found.step}")
        return found
    if damaged:
        raise InputError("; ".join(damaged))
    return None


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's way to `write_checkpoint` and `read_checkpoint`.

    A file that cannot be written leaves its `failure` here instead of raising it: only the first process writes, and
    the others wait for it behind the call. What has been `read` already is not read again.
    """

    def __init__(self) -> None:
        self.failure: OSError | None = None
        self.read: Checkpoint | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.failure = None
        try:
            write_checkpoint(checkpoint, Path(path))
        except OSError as error:
            self.failure = error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        if self.read is None or self.read.path != Path(path):
            return read_checkpoint(path, map_location or "cpu")
        content, self.read = self.read.content, None
        return content

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
