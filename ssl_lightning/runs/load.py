"""The method of a run with its trained weights, without its data, which may be gone; and its data."""

from typing import Any

from omegaconf import DictConfig

from ssl_lightning.config.build import build_data, build_method, load_config
from ssl_lightning.runs.checkpoints import Checkpoint, read_checkpoint
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
    path = run.checkpoint(checkpoint)
    Checkpoint(path, read_checkpoint(path)).load_into(method)
    return method.eval(), data


def load_data(run: RunFolder, config: DictConfig) -> Any:
    """The data module of `config`, with what the run keeps of it (such as its tokenizer), ready for evaluation."""
    data = build_data(config)
    data.restore(run.path)
    data.setup("test")
    return data
