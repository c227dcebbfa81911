"""The weights of a run in the files of another library."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class
from omegaconf import DictConfig
from rich.console import Console

from ssl_lightning.commands.exported_encoder import export_encoder
from ssl_lightning.commands.text_model import text_model
from ssl_lightning.config.build import load_config
from ssl_lightning.errors import InputError
from ssl_lightning.figures.table import print_lines
from ssl_lightning.modules.backbones.text import Head
from ssl_lightning.runs.folder import find_run

_OPENS: dict[Head, str] = {
    "masked": 'AutoModelForMaskedLM, pipeline("fill-mask")',
    "causal": 'AutoModelForCausalLM, pipeline("text-generation")',
    "seq2seq": "AutoModelForSeq2SeqLM",
}


def export(config: DictConfig) -> None:
    """Writes to Hydra's output folder.

    Raises:
        InputError: no such run or checkpoint, or a run whose network the format does not have.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    run = find_run(config.run)
    trained: Any = get_class(load_config(run.config).method._target_)
    form = config.format or ("transformers" if trained.declares("token_loss") else "safetensors")
    if form != "transformers" or not trained.declares("token_loss"):
        opened = export_encoder(run, str(config.checkpoint), form, folder)
        print_lines(Console(), {"wrote": str(folder), "open": opened})
        return
    text = text_model(run, str(config.checkpoint), "be exported to transformers")
    if text.head == "causal":
        text.model.generation_config.suppress_tokens = list(text.forbidden)
    save(text.model, text.tokenizer, folder)
    print_lines(Console(), {"wrote": f"{folder}: {_OPENS[text.head]}"})


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A folder that transformers' `from_pretrained` opens: the weights are tensors alone, in safetensors."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}") from error
