"""Checkpoint files: written beside and renamed, read without running code."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import CheckpointIO

from ssl_lightning.errors import InputError


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes a whole checkpoint or none: `path` always holds the newest complete one.

    Raises:
        OSError: the disk is full or not writable; what was at `path` is still there.
    """
    content = io.BytesIO()  # torch.save to a full disk would raise a RuntimeError of its own
    torch.save(checkpoint, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Loads tensors and plain values only; nothing in the file is executed.

    Raises:
        InputError: no such file, a damaged file, or one that holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no checkpoint at {path}")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is damaged or not a checkpoint")
    try:
        loaded: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} holds more than tensors and plain values and is not loaded") from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged and cannot be read ({type(error).__name__})") from error
    return loaded


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's way to `write_checkpoint` and `read_checkpoint`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(path, map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
