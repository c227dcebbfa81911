"""Text networks for runs: models of transformers from its config classes, from its checkpoints, or from a run.

transformers is imported only when a model is made: it takes seconds.
"""

import difflib
import pickle
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.language_model import LanguageModel

Head = Literal["masked", "causal", "seq2seq"]
_AUTO = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}
_GATED = ("modernbert", "llama", "qwen3")
"""Three matrices in their MLPs: 8/3 of the width then has the weights of 4 times the width with two."""
_DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout", "activation_dropout"),
    *("embd_pdrop", "resid_pdrop", "attn_pdrop", "embedding_dropout", "mlp_dropout"),
)
_SPECIAL = 5
"""Tokens that may have been added to the tokenizer of a checkpoint: padding, unknown, [CLS], [SEP], [MASK]."""


def language_model(
    architecture: str,
    vocab_size: int | None = None,
    pad_id: int | None = None,
    head: Head = "masked",
    max_length: int = 128,
    width: int = 256,
    layers: int = 4,
    heads: int = 4,
    mlp_width: int | None = None,
    dropout: float = 0.0,
    tied: bool = True,
    pretrained: str | None = None,
    cls_id: int | None = None,
    sep_id: int | None = None,
    **options: Any,
) -> LanguageModel:
    """A model of transformers with random weights, or with those of `pretrained`, which then decides its sizes.

    Args:
        architecture: a name that transformers' AutoConfig knows: bert, modernbert, gpt2, llama, qwen3, bart ...
        vocab_size: V of the tokenizer. `pad_id`: its padding.
        head: "masked" guesses hidden tokens, "causal" the next one, "seq2seq" restores a text.
        max_length: tokens of the longest window.
        width: D. `layers`, `heads`: of the encoder and of the decoder. `mlp_width`: by default 4 D, 8/3 D if gated.
        dropout: everywhere that the architecture has it.
        tied: whether input and output embeddings are one.
        pretrained: a run folder, or a folder or a name on the hub as `from_pretrained` takes them.
        cls_id: begins a text. `sep_id`: ends it. Both are for those who use the exported model.
        options: more fields of the architecture's config (num_key_value_heads ...).

    Raises:
        InputError: an architecture or option that transformers does not know, sizes that do not fit, or weights that
            are not there or are those of another vocabulary.
    """
    if vocab_size is None or pad_id is None:
        raise InputError("backbone.vocab_size and backbone.pad_id come from a tokenizer, which this data does not have")
    if head not in _AUTO:
        raise InputError(f"backbone.head={head} is unknown; it is one of {', '.join(_AUTO)}")
    ids = {"pad_token_id": pad_id, "bos_token_id": cls_id, "eos_token_id": sep_id}
    ids |= {"cls_token_id": cls_id, "sep_token_id": sep_id}  # where there are such, as in ModernBERT
    if pretrained is not None and (Path(pretrained).expanduser() / ".hydra" / "config.yaml").is_file():
        return load_run(pretrained, vocab_size, pad_id, max_length)
    if pretrained is not None:
        return LanguageModel(_load(pretrained, head, vocab_size, ids), pad_id, head == "causal")
    if width % heads:
        raise InputError(f"backbone.width={width} does not divide by backbone.heads={heads}")
    unused = pad_id + 1 if "roberta" in architecture else 0  # positions: RoBERTa's begin behind padding's id
    sizes = {
        "vocab_size": vocab_size,
        "max_position_embeddings": max_length + unused,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": width // heads,
        "intermediate_size": mlp_width or (-(-8 * width // 96) * 32 if architecture in _GATED else 4 * width),
        "tie_word_embeddings": tied,
        "is_decoder": head == "causal",
    }
    model = _make(architecture, head, {**sizes, **ids, **dict.fromkeys(_DROPOUTS, float(dropout))}, options)
    return LanguageModel(model, pad_id, head == "causal")


language_model.kinds = ()  # type: ignore[attr-defined]  # its head says what it is


def _make(architecture: str, head: Head, fields: dict[str, Any], options: dict[str, Any]) -> Any:
    import transformers

    known = transformers.CONFIG_MAPPING
    if architecture not in known:
        near = ", ".join(difflib.get_close_matches(architecture, list(known), n=4)) or "see transformers.AutoConfig"
        raise InputError(f"backbone.architecture={architecture} is unknown to transformers; near it: {near}")
    default = known[architecture]()
    for name in options:
        if not hasattr(default, name):
            near = " or ".join(difflib.get_close_matches(name, default.to_dict(), n=1))
            hint = f"; did you mean {near}?" if near else ""
            raise InputError(f"backbone.{name} is not an option of transformers' {architecture}{hint}")
    for side in ("encoder", "decoder"):  # BART has its own words, and all of them twice
        fields[f"{side}_layers"] = fields["num_hidden_layers"]
        fields[f"{side}_attention_heads"] = fields["num_attention_heads"]
        fields[f"{side}_ffn_dim"] = fields["intermediate_size"]
    fields["n_inner"] = fields["intermediate_size"]  # GPT-2
    fields["decoder_start_token_id"] = fields["pad_token_id"]  # as in T5: the one token that every tokenizer has
    fields["forced_eos_token_id"] = None
    if getattr(default, "activation_function", "") == "gelu_new":  # GPT-2's, in one operation in place of eight
        fields["activation_function"] = "gelu_pytorch_tanh"
    try:
        config = known[architecture](**{name: x for name, x in fields.items() if hasattr(default, name)} | options)
        return _auto(head).from_config(config, attn_implementation="sdpa")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"transformers refuses {architecture} with head={head}: {_first_line(error)}") from error


def _load(pretrained: str, head: Head, vocab_size: int, ids: dict[str, int | None]) -> Any:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    try:
        model = _auto(head).from_pretrained(pretrained, attn_implementation="sdpa", dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"backbone.pretrained={pretrained} cannot be loaded: {_first_line(error)}") from error
    lacking = vocab_size - model.config.vocab_size
    if lacking > _SPECIAL:
        raise InputError(
            f"backbone.pretrained={pretrained} has {model.config.vocab_size} tokens, but the tokenizer {vocab_size};"
            " take the tokenizer that belongs to it"
        )
    if lacking > 0:
        model.resize_token_embeddings(vocab_size)
    for name, token in ids.items():
        if token is not None:
            setattr(model.config, name, token)
    for name in _DROPOUTS:
        if hasattr(model.config, name):
            setattr(model.config, name, 0.0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def load_run(folder: str, vocab_size: int, pad_id: int, max_length: int = 0) -> LanguageModel:
    """The text network of a run of ours, with the weights of its last checkpoint.

    It takes windows of up to `max_length` tokens, longer ones than the run had, where positions are rotary.

    Raises:
        InputError: the run trained no text network or wrote no checkpoint, or its tokenizer was another one.
    """
    from omegaconf import OmegaConf

    run = Path(folder).expanduser()
    config: Any = OmegaConf.load(run / ".hydra" / "config.yaml")
    settings = OmegaConf.to_container(config.backbone, resolve=True)
    assert isinstance(settings, dict)
    if settings.pop("_target_", None) != f"{__name__}.{language_model.__name__}":
        raise InputError(f"the run at {run} has no text network")
    checkpoint = run / "checkpoints" / "last.ckpt"
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    except (OSError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(f"{checkpoint} cannot be read ({type(error).__name__})") from error
    model = language_model(**{str(k): v for k, v in settings.items()} | {"vocab_size": vocab_size, "pad_id": pad_id})
    prefix = "backbone."
    try:
        model.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise InputError(
            f"the weights of the run at {run} do not fit {vocab_size} tokens: take the tokenizer of that run"
        ) from error
    if getattr(model.model.config, "rope_parameters", None) and max_length > model.max_length:
        model.max_length = model.model.config.max_position_embeddings = max_length
    return model


def _auto(head: Head) -> Any:
    import transformers

    return getattr(transformers, _AUTO[head])


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
