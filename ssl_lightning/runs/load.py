"""The method of a run with its trained weights, without its data, which may be gone; and its data."""

from typing import Any

from omegaconf import DictConfig

from ssl_lightning.config.build import build_data, build_method, load_config
from ssl_lightning.errors import InputError
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import RunFolder


def load_method(run: RunFolder, checkpoint: str = "last") -> tuple[Any, Any]:
    """The trained method, in evaluation mode on the CPU, and the data module, whose data is not opened.

    `checkpoint`: last, best, or a path.

    Raises:
        InputError: no checkpoint, one of another architecture, or a run without what its data stored in it.
    """
    config = load_config(run.config)
    data = build_data(config)
    data.restore(run.path)
    path = run.checkpoint(checkpoint)
    state = read_checkpoint(path).get("state_dict", {})
    method = build_method(config, data)
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path} does not fit the model of {run.config}") from error
    return method.eval(), data


def load_data(run: RunFolder, config: DictConfig) -> Any:
    """The data module of `config`, with what the run keeps of it (such as its tokenizer), ready for use."""
    data = build_data(config)
    data.restore(run.path)
    data.prepare_data()
    data.setup()
    return data
