"""The weights of a run in the files of another library."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from ssl_lightning.commands.exported_encoder import export_encoder
from ssl_lightning.commands.pair_export import export_pair
from ssl_lightning.commands.text_model import method_of, save, text_model
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
    trained = method_of(run)
    if trained.declares("encode_text"):
        print_lines(Console(), export_pair(run, str(config.checkpoint), folder))
        return
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
