"""The method of a run with its trained weights, without its data, which may be gone; and its data."""

from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from ssl_lightning.config.build import build_data, build_method, load_config
from ssl_lightning.data.text.tokenizers import Tokenizer, load
from ssl_lightning.errors import InputError
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import RunFolder


def load_method(run: RunFolder, checkpoint: str = "last") -> tuple[Any, Tokenizer | None]:
    """The trained method, in evaluation mode on the CPU, and the tokenizer stored with it, if it reads text.

    `checkpoint`: last, best, or a path.

    Raises:
        InputError: no checkpoint, one of another architecture, or a run on text without its tokenizer.
    """
    config, tokenizer = load_config(run.config), None
    data: Any = get_class(config.data._target_)
    if "tokens" in data.provides:
        if not run.tokenizer.is_dir():
            raise InputError(f"the tokenizer of the run is not there: {run.tokenizer}")
        tokenizer = load(run.tokenizer)
        for fact in ("vocab_size", "pad_id", "cls_id", "sep_id"):
            if fact in config.backbone and config.backbone[fact] is None:
                config.backbone[fact] = getattr(tokenizer, fact)
    path = run.checkpoint(checkpoint)
    state = read_checkpoint(path).get("state_dict", {})
    method = build_method(config)
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path} does not fit the model of {run.config}") from error
    return method.eval(), tokenizer


def load_data(run: RunFolder, config: DictConfig) -> Any:
    """The data module of `config`, with what the run keeps of it (such as its tokenizer), ready for use."""
    data = build_data(config)
    data.restore(run.path)
    data.prepare_data()
    data.setup()
    return data
