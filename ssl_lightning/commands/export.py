"""The weights of a run in the files of another library, with a model card."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from ssl_lightning.commands.exported_encoder import export_encoder
from ssl_lightning.commands.model_card import write_card
from ssl_lightning.commands.pair_export import export_open_clip, export_pair
from ssl_lightning.commands.text_model import method_of, refuse_without, save, text_model
from ssl_lightning.figures.table import print_lines
from ssl_lightning.modules.backbones.text import Head
from ssl_lightning.runs.folder import RunFolder, find_run

_OPENS: dict[Head, str] = {
    "masked": 'transformers.pipeline("fill-mask", "{folder}")',
    "causal": 'transformers.pipeline("text-generation", "{folder}")',
    "seq2seq": 'transformers.AutoModelForSeq2SeqLM.from_pretrained("{folder}")',
}
_PAIRS = {None: export_pair, "open_clip": export_open_clip}


def export(config: DictConfig) -> None:
    """Writes to Hydra's output folder.

    Raises:
        InputError: no such run or checkpoint, or a run whose network the format does not have.
    """
    folder, checkpoint = Path(HydraConfig.get().runtime.output_dir), str(config.checkpoint)
    run = find_run(config.run)
    trained = method_of(run)
    if config.format == "open_clip":
        refuse_without("encode_text", run, "be exported to open_clip")
    if trained.declares("encode_text") and config.format in _PAIRS:
        told = _PAIRS[config.format](run, checkpoint, folder)
    elif trained.declares("token_loss") and config.format in (None, "transformers"):
        told = _export_language_model(run, checkpoint, folder)
    else:
        told = export_encoder(run, checkpoint, config.format or "safetensors", folder)
    write_card(run, trained, told, folder)
    print_lines(Console(), told)


def _export_language_model(run: RunFolder, checkpoint: str, folder: Path) -> dict[str, str]:
    text = text_model(run, checkpoint, "be exported to transformers")
    if text.head == "causal":
        text.model.generation_config.suppress_tokens = list(text.forbidden)
    save(text.model, text.tokenizer, folder)
    return {"wrote": str(folder), "open": _OPENS[text.head].format(folder=folder)}
