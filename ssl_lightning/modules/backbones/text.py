"""Language models of transformers, with random weights or from a checkpoint.

transformers takes seconds to import, so it is imported only when a model is built.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from ssl_lightning.errors import InputError, told
from ssl_lightning.modules.backbones.language_model import LanguageModel
from ssl_lightning.ranges import AtLeastTwo, Fraction, PositiveInt

Head = Literal["masked", "causal", "seq2seq"]
_AUTO = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}
_GATED = ("modernbert", "llama", "qwen3")
"""Architectures with gated MLPs: three matrices of 8/3 D have as many weights as the usual two of 4 D."""
_DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout", "activation_dropout"),
    *("embd_pdrop", "resid_pdrop", "attn_pdrop", "embedding_dropout", "mlp_dropout"),
)
_SPECIAL = 5
"""How many tokens a tokenizer may have beyond its checkpoint: padding, unknown, [CLS], [SEP], [MASK]."""


def language_model(
    architecture: str,
    vocab_size: int | None = None,
    pad_id: int | None = None,
    head: Head = "masked",
    max_length: AtLeastTwo = 128,
    width: PositiveInt = 256,
    layers: PositiveInt = 4,
    heads: PositiveInt = 4,
    mlp_width: PositiveInt | None = None,
    dropout: Fraction = 0.0,
    tied: bool = True,
    pretrained: str | None = None,
    cls_id: int | None = None,
    sep_id: int | None = None,
    **options: Any,
) -> LanguageModel:
    """A model of transformers with random weights, or with the weights and the sizes of `pretrained`.

    Args:
        architecture: a name that transformers' AutoConfig knows: bert, modernbert, gpt2, llama, qwen3, bart ...
        vocab_size: V, from the tokenizer.
        pad_id: the padding token, from the tokenizer.
        head: "masked" predicts masked tokens, "causal" the next token, "seq2seq" an original text.
        max_length: length of the longest window in tokens; "causal" reads all but its last one.
        width: D.
        layers: number of layers; an encoder-decoder has as many in each half.
        heads: number of attention heads.
        mlp_width: hidden width of the MLPs; by default 4 D, or 8/3 D if they are gated.
        dropout: rate of all dropouts of the architecture.
        tied: whether the input and output embeddings share their weights.
        pretrained: a checkpoint of transformers: a folder or a name on the hub. In a config also a run folder, which
            `config.build` resolves.
        cls_id: the token before a text, stored for users of an exported model.
        sep_id: the token after a text, stored likewise.
        options: further fields of the architecture's config (num_key_value_heads ...).

    Raises:
        InputError: transformers does not know the architecture or an option, sizes do not fit, or the pretrained
            weights are missing or have another vocabulary.
    """
    if vocab_size is None or pad_id is None:
        raise InputError("backbone.vocab_size and backbone.pad_id come from a tokenizer, which this data does not have")
    ids: dict[str, int | None] = {"pad_token_id": pad_id, "bos_token_id": cls_id, "eos_token_id": sep_id}
    ids |= {"cls_token_id": cls_id, "sep_token_id": sep_id}  # other names for the same, in ModernBERT
    if pretrained is not None:
        return LanguageModel(_load(pretrained, head, vocab_size, ids), pad_id, head == "causal")
    if width % heads:
        raise InputError(f"backbone.width={width} does not divide by backbone.heads={heads}")
    unused = pad_id + 1 if "roberta" in architecture else 0  # RoBERTa's positions start after pad_id
    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "max_position_embeddings": max_length + unused - (head == "causal"),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": width // heads,
        "intermediate_size": mlp_width or (-(-8 * width // 96) * 32 if architecture in _GATED else 4 * width),
        "tie_word_embeddings": tied,
        "is_decoder": head == "causal",
    }
    for side in ("encoder", "decoder"):  # BART names its sizes differently, and once per half
        sizes |= {f"{side}_layers": layers, f"{side}_attention_heads": heads}
        sizes[f"{side}_ffn_dim"] = sizes["intermediate_size"]
    sizes["n_inner"] = sizes["intermediate_size"]  # GPT-2
    ids["decoder_start_token_id"] = pad_id  # as in T5; every tokenizer has a padding token
    ids["forced_eos_token_id"] = None
    fields = {**sizes, **ids, **dict.fromkeys(_DROPOUTS, float(dropout))}
    with told(f"transformers refuses {architecture} with head={head}", ValueError, TypeError, KeyError):
        model = random_model(auto_class(head), architecture, fields, options, attn_implementation="sdpa")
    return LanguageModel(model, pad_id, head == "causal")


language_model.kinds = ()  # type: ignore[attr-defined]  # its head says what it is


def random_model(
    auto: Any, architecture: str, fields: Mapping[str, Any], options: Mapping[str, Any], **how: Any
) -> Any:
    """What a class of transformers makes of the config of an architecture.

    Args:
        fields: of the config; those that it does not have are left out.
        options: further fields.
        how: arguments of `auto.from_config`.

    Raises:
        InputError: transformers does not know the architecture, or an option, naming the nearest.
    """
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
    given = {name: value for name, value in fields.items() if hasattr(default, name)}
    given |= {name: list(x) if isinstance(x, Sequence) and not isinstance(x, str) else x for name, x in options.items()}
    if getattr(default, "activation_function", "") == "gelu_new":  # GPT-2's; this is one operation instead of eight
        given = {"activation_function": "gelu_pytorch_tanh"} | given
    return auto.from_config(known[architecture](**given), **how)


def from_checkpoint(auto: Any, pretrained: str, **options: Any) -> Any:
    """What a class of transformers makes of a checkpoint, in float32; no code that comes with it is run.

    Raises:
        InputError: it cannot be loaded.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    with told(f"the checkpoint {pretrained} cannot be loaded", name=pretrained):
        return auto.from_pretrained(pretrained, dtype=torch.float32, trust_remote_code=False, **options)


def _load(pretrained: str, head: Head, vocab_size: int, ids: dict[str, int | None]) -> Any:
    model = from_checkpoint(auto_class(head), pretrained, attn_implementation="sdpa")
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


def auto_class(head: Head) -> Any:
    """What transformers opens a checkpoint by."""
    import transformers

    return getattr(transformers, _AUTO[head])
