"""The interface between methods and models of transformers, and DistilBERT's student."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.parts import CalledByParts

NOT_SIZES = ("architectures", "model_type", "transformers_version", "dtype", "id2label", "label2id", "vocab_size")


class LanguageModel(CalledByParts):
    """Wraps `model`, a model of transformers with its head: `hidden` embeds tokens, `logits` applies the head.

    Attributes:
        out_dim: D, the width of the hidden states.
        vocab_size: V.
        pad_id: the token that pads windows.
        max_length: tokens that the network can read at once.
        causal: whether each token attends only to itself and earlier tokens.
    """

    frame: tuple[str, str] = ("", "")
    """Roles ("cls", "sep") of the special tokens around a text in training, which an export adds; "": none."""

    def __init__(self, model: Any, pad_id: int, causal: bool) -> None:
        super().__init__()
        self.model, self.pad_id, self.causal = model, pad_id, causal
        self.out_dim: int = model.config.hidden_size
        self.vocab_size: int = model.config.vocab_size
        self.max_length: int = model.config.max_position_embeddings - _unused_positions(model)
        self._has_segments = getattr(model.config, "type_vocab_size", 0) > 1

    @property
    def arguments(self) -> dict[str, Any]:
        """Plain arguments of `text.language_model` for a network of the same architecture and sizes."""
        config = self.model.config
        fields = {key: value for key, value in config.to_dict().items() if key not in NOT_SIZES and key[0] != "_"}
        return {
            **{key: value for key, value in fields.items() if not key.endswith("_token_id")},
            "architecture": config.model_type,
            "head": "seq2seq" if config.is_encoder_decoder else "causal" if self.causal else "masked",
            "max_length": self.max_length + self.causal,
            "width": config.hidden_size,
            "layers": config.num_hidden_layers,
            "heads": config.num_attention_heads,
        }

    @property
    def body(self) -> Any:
        """The network without its head."""
        return self.model.base_model

    @property
    def vocabulary_head(self) -> Any:
        """The layer with the output embeddings (V, D)."""
        return self.model.get_output_embeddings()

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N) -> (B, D): the mean of the last hidden states over all tokens except padding.

        A causal model leaves out what is beyond `max_length`: a window has one token more, the last to be predicted.
        """
        tokens = tokens[:, : self.max_length] if self.causal else tokens
        visible = tokens != self.pad_id
        return masked_mean(self.hidden(tokens, visible), visible)

    def hidden(self, inputs: Tensor, visible: Tensor, segment: Tensor | None = None) -> Tensor:
        """Last hidden states (B, N, D) of `inputs` (B, N): the encoder's, if the model has an encoder and a decoder.

        Args:
            inputs: (B, N) tokens, padded at the end.
            visible: (B, N) bool, True for real tokens.
            segment: (B, N), which sentence a token belongs to; ignored by networks without segment embeddings.
        """
        self._check_length(inputs)
        if self.causal:  # causal attention never sees the padding at the end, so it needs no mask
            return self.body(input_ids=inputs, use_cache=False).last_hidden_state
        encoder = self.body.encoder if self.model.config.is_encoder_decoder else self.body
        extra = {"token_type_ids": segment} if segment is not None and self._has_segments else {}
        return encoder(input_ids=inputs, attention_mask=attention_mask(visible), **extra).last_hidden_state

    def decoded(self, inputs: Tensor, visible: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Last hidden states of the encoder (B, M, D) and of the decoder, one for each target (B, N, D).

        The decoder reads the targets shifted by one: `config.decoder_start_token_id` comes first (teacher forcing).

        Args:
            inputs: (B, M) tokens of the encoder.
            visible: (B, M) bool, True for real tokens.
            targets: (B, N) tokens that the decoder predicts.
        """
        self._check_length(targets)
        encoded = self.hidden(inputs, visible)
        start = torch.full_like(targets[:, :1], self.model.config.decoder_start_token_id)
        decoded = self.body.decoder(
            input_ids=torch.cat([start, targets[:, :-1]], dim=1),
            encoder_hidden_states=encoded,
            encoder_attention_mask=attention_mask(visible),
            use_cache=False,
        )
        return encoded, decoded.last_hidden_state

    def logits(self, h: Tensor) -> Tensor:
        """The model's own head: (M, D) hidden states -> (M, V) logits.

        Raises:
            InputError: the head of this architecture is not supported.
        """
        model = self.model
        if hasattr(model, "vocab_projector"):  # DistilBERT
            return model.vocab_projector(model.vocab_layer_norm(model.activation(model.vocab_transform(h))))
        if hasattr(model, "head") and hasattr(model, "decoder"):  # ModernBERT
            return model.decoder(model.head(h))
        if hasattr(model, "final_logits_bias"):  # BART
            return model.lm_head(h) + model.final_logits_bias
        for name in ("cls", "lm_head"):  # BERT; GPT-2, Llama, RoBERTa ...
            if hasattr(model, name):
                return getattr(model, name)(h)
        raise InputError(f"the head of {type(model).__name__} is not supported: choose another backbone.architecture")

    def extend_windows(self, max_length: int) -> None:
        """Accepts windows of up to `max_length` tokens if positions are rotary, that is, not read from a table."""
        if getattr(self.model.config, "rope_parameters", None) and max_length - self.causal > self.max_length:
            self.max_length = self.model.config.max_position_embeddings = max_length - self.causal

    def compiled_parts(self) -> list[nn.Module]:
        return [self.body.encoder, self.body.decoder] if self.model.config.is_encoder_decoder else [self.body]

    def _check_length(self, tokens: Tensor) -> None:
        count, most = tokens.shape[1], self.max_length
        if count > most:
            raise InputError(
                f"{count} tokens are more than the {most} that the backbone reads: raise backbone.max_length"
            )


def _unused_positions(model: Any) -> int:
    """RoBERTa's positions begin behind that of its padding token."""
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else padding + 1


def masked_mean(h: Tensor, visible: Tensor) -> Tensor:
    """(B, N, D) -> (B, D): the mean over the tokens where `visible` (B, N) is True; 0 for a row without such tokens."""
    weight = visible.to(h.dtype)
    return torch.einsum("bnd,bn->bd", h, weight) / weight.sum(dim=1, keepdim=True).clamp(min=1)


def attention_mask(visible: Tensor) -> Tensor | None:
    """The attention mask, or None on a CPU if nothing is padded, which is faster; a GPU would have to wait to know."""
    return None if visible.device.type == "cpu" and bool(visible.all()) else visible


def student_from_teacher(teacher: LanguageModel) -> LanguageModel:
    """A student with copies of layers 0, 2, 4 ... of its teacher and of all other weights (DistilBERT, Sec. 3).

    Sanh et al. 2019, https://arxiv.org/abs/1910.01108.

    Raises:
        InputError: the teacher has only one layer.
    """
    model = copy.deepcopy(teacher.model).requires_grad_()
    config, depth = model.config, model.config.num_hidden_layers
    if depth < 2:
        raise InputError(f"a teacher of {depth} layer cannot be halved: backbone.layers must be 2 or more")
    for stack in list(model.modules()):
        if isinstance(stack, nn.ModuleList) and len(stack) == depth:
            del stack[depth // 2 * 2 :]
            del stack[1::2]
    config.num_hidden_layers = depth // 2
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: depth // 2 * 2 : 2]
    return LanguageModel(model, teacher.pad_id, teacher.causal)
