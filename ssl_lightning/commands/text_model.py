"""A language model with its tokenizer, as transformers have them: that of a run, or any checkpoint of transformers."""

from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class

from ssl_lightning.config.build import load_config
from ssl_lightning.config.choices import methods_that_declare
from ssl_lightning.errors import InputError, first_line
from ssl_lightning.modules.backbones.text import Head, auto_class
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.load import load_method


@dataclass(frozen=True)
class TextModel:
    """What a text goes through; `tokenizer` adds the special tokens that stood in the texts of the training."""

    model: Any
    tokenizer: Any
    head: Head
    max_length: int
    """Tokens of the longest text."""
    forbidden: tuple[int, ...] = ()
    """Special tokens, never drawn when a text is continued."""


def text_model(run: RunFolder | None, checkpoint: str, wish: str) -> TextModel:
    """That of a run, or without one a checkpoint of transformers, by its folder or its name on the hub.

    Raises:
        InputError: it is not there, or is no language model, so that the `wish` cannot come true.
    """
    return _of_checkpoint(checkpoint) if run is None else _of_run(run, checkpoint, wish)


def refuse_without(hook: str, run: RunFolder, wish: str) -> None:
    """Refuses a run whose method does not declare `hook`, so that the `wish` cannot come true.

    Raises:
        InputError: it does not.
    """
    trained = method_of(run)
    if not trained.declares(hook):
        able = methods_that_declare(hook)
        raise InputError(f"{run.path} trained {trained.__name__}, which cannot {wish}; methods that can: {able}")


def method_of(run: RunFolder) -> Any:
    """The class of the method that a run trained."""
    return get_class(load_config(run.config).method._target_)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A folder that transformers' `from_pretrained` opens: the weights are tensors alone, in safetensors."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}") from error


def _of_run(run: RunFolder, checkpoint: str, wish: str) -> TextModel:
    """What a run on text trained; of a method with a teacher, the student."""
    refuse_without("token_loss", run, wish)
    method, data = load_method(run, checkpoint)
    tokenizer, network = data.modality.tokenizer, method.backbone
    inner, model = tokenizer.inner, network.model
    head: Head = "seq2seq" if model.config.is_encoder_decoder else "causal" if network.causal else "masked"
    _frame(inner, *(getattr(inner, f"{role}_token") if role else "" for role in network.frame))
    takes = signature(model.forward).parameters
    names = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in takes]
    inner.model_input_names = inner.init_kwargs["model_input_names"] = names  # the second is what is saved
    inner.model_max_length = network.max_length
    return TextModel(model, inner, head, network.max_length, tuple(tokenizer.special_ids))


def _frame(tokenizer: Any, before: str, after: str) -> None:
    """Lets a tokenizer of transformers put these special tokens around a text, and no others."""
    from tokenizers.processors import TemplateProcessing

    if not tokenizer.is_fast or not (before or after or tokenizer.num_special_tokens_to_add()):
        return
    single = " ".join(filter(None, (before, "$A", after)))
    pair = " ".join(filter(None, (before, "$A", after, "$B:1", after and f"{after}:1")))
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (before, after) if token]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=ids)


def _of_checkpoint(name: str) -> TextModel:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    place = Path(name).expanduser()
    if (place / ".hydra").is_dir() or place.suffix == ".ckpt":
        raise InputError(f"{place} belongs to a run: give its folder as run=, and then checkpoint=last, best or a file")
    if not place.exists() and (place.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1):
        raise InputError(f"there is no checkpoint at {place}")
    where = str(place) if place.exists() else name
    try:
        config = transformers.AutoConfig.from_pretrained(where, trust_remote_code=False)
        head = _head(config, name)
        model = auto_class(head).from_pretrained(where, dtype=torch.float32, trust_remote_code=False).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except InputError:
        raise
    except Exception as error:  # whatever it stumbles over in a folder that anyone may have made
        why = first_line(error) or type(error).__name__
        raise InputError(f"checkpoint={name} cannot be opened by transformers: {why}") from error
    longest = [getattr(config, key, None) for key in ("max_position_embeddings", "n_positions")]
    return TextModel(model, tokenizer, head, min(n for n in (*longest, tokenizer.model_max_length) if n))


def _head(config: Any, name: str) -> Head:
    from transformers.models.auto import modeling_auto as known

    made = (config.architectures or ["no architecture that its config names"])[0]
    if config.is_encoder_decoder:
        return "seq2seq"
    if made in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values() or made.endswith("ForPreTraining"):
        return "masked"
    if made in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        return "causal"
    raise InputError(f"checkpoint={name} is {made}, which has no head that makes text")
