"""The method of a run with its trained weights, without its data, which may be gone; and its data."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from ssl_lightning.config.build import build_data, build_method, load_config
from ssl_lightning.errors import InputError
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import RunFolder


def load_method(run: RunFolder, checkpoint: str = "last", config: DictConfig | None = None) -> tuple[Any, Any]:
    """The trained method, in evaluation mode on the CPU, and the data module, whose data is not opened.

    `checkpoint`: last, best, or a path. `config`: that of the run, with other data.

    Raises:
        InputError: no checkpoint, one of another architecture, or a run without what its data stored in it.
    """
    config = config or load_config(run.config)
    data = build_data(config)
    data.restore(run.path)
    method = build_method(config, data)
    load_weights(method, run.checkpoint(checkpoint), run)
    return method.eval(), data


def load_weights(method: Any, checkpoint: Path, run: RunFolder, device: torch.device | str = "cpu") -> None:
    """Gives a method of `run` the weights of a checkpoint, read to `device`.

    Raises:
        InputError: no checkpoint, or one of another architecture, or one whose weights are not finite.
    """
    try:
        method.load_state_dict(read_checkpoint(checkpoint, device)["state_dict"])
    except (RuntimeError, KeyError) as error:
        raise InputError(f"{checkpoint} does not fit the model of {run.config}") from error
    if not all(weight.isfinite().all() for weight in method.parameters()):
        raise InputError(f"the weights in {checkpoint} are not finite: their training diverged")


def load_data(run: RunFolder, config: DictConfig) -> Any:
    """The data module of `config`, with what the run keeps of it (such as its tokenizer), ready for evaluation."""
    data = build_data(config)
    data.restore(run.path)
    data.setup("test")
    return data
