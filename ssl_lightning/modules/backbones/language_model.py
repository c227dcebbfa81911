"""A model of transformers in the shape that methods use, and the student made of half of it."""

import copy
import re
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.cpu.linear import use_onednn
from ssl_lightning.modules.cpu.llama import decode, is_plain_decoder

_LAYER = re.compile(r"(\.(?:layer|layers|h)\.)(\d+)(?=\.)")


class LanguageModel(nn.Module):
    """`hidden` embeds tokens, `logits` is the head of the transformers model inside, `model`.

    `out_dim`: D; `vocab_size`: V; `pad_id`: the token that fills up windows; `max_length`: the longest window;
    `causal`: whether tokens see only those before them.
    """

    fsdp_shard_with_root = True
    """Methods call `hidden` and `logits`, which a shard of this module alone would not know of."""

    frame: tuple[str, str] = ("", "")
    """Roles ("cls", "sep") of the special tokens around a text in training, which an export adds; "": none."""

    def __init__(self, model: Any, pad_id: int, causal: bool) -> None:
        super().__init__()
        self.model, self.pad_id, self.causal = model, pad_id, causal
        self.out_dim: int = model.config.hidden_size
        self.vocab_size: int = model.config.vocab_size
        self.max_length: int = model.config.max_position_embeddings
        self._decode = decode if is_plain_decoder(model) else None
        self._has_segments = getattr(model.config, "type_vocab_size", 0) > 1
        use_onednn(model)

    @property
    def body(self) -> Any:
        """The network below the head."""
        return self.model.base_model

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N) -> (B, D): the mean of the last hidden states of all tokens but padding."""
        visible = tokens != self.pad_id
        return masked_mean(self.hidden(tokens, visible), visible)

    def hidden(self, inputs: Tensor, visible: Tensor, segment: Tensor | None = None) -> Tensor:
        """Last hidden states (B, N, D) of `inputs` (B, N); of an encoder and decoder those of the encoder.

        `visible` (B, N) bool: True for real tokens, which padding follows. `segment` (B, N) reaches networks that have
        embeddings for it (BERT); others tell sentences by the tokens between them.
        """
        self._check_length(inputs)
        if self._decode is not None:
            return self._decode(self.body, inputs)
        if self.causal:  # no token sees what follows it, so padding at the end needs no mask
            return self.body(input_ids=inputs, use_cache=False).last_hidden_state
        encoder = self.body.encoder if self.model.config.is_encoder_decoder else self.body
        extra = {"token_type_ids": segment} if segment is not None and self._has_segments else {}
        return encoder(input_ids=inputs, attention_mask=_mask(visible), **extra).last_hidden_state

    def decoded(self, inputs: Tensor, visible: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Last hidden states of the encoder (B, M, D) and, for each target, of the decoder (B, N, D).

        `inputs`, `visible`: (B, M); `targets`: (B, N). The decoder sees the targets one place later, after
        `config.decoder_start_token_id`.
        """
        self._check_length(targets)
        encoded = self.hidden(inputs, visible)
        start = torch.full_like(targets[:, :1], self.model.config.decoder_start_token_id)
        decoded = self.body.decoder(
            input_ids=torch.cat([start, targets[:, :-1]], dim=1),
            encoder_hidden_states=encoded,
            encoder_attention_mask=_mask(visible),
            use_cache=False,
        )
        return encoded, decoded.last_hidden_state

    def logits(self, h: Tensor) -> Tensor:
        """(M, D) -> (M, V), by the model's own head.

        Raises:
            InputError: a model whose head is not known here.
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
        raise InputError(
            f"the head of transformers' {type(model).__name__} is not known here; take another architecture"
        )

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles the networks below the head too, since methods call `hidden` and `decoded`, not the module."""
        super().compile(*args, **kwargs)
        if self._decode is not None:
            self._decode = torch.compile(decode, *args, **kwargs)
        parts = [self.body.encoder, self.body.decoder] if self.model.config.is_encoder_decoder else [self.body]
        for part in parts:
            part.compile(*args, **kwargs)

    def _check_length(self, tokens: Tensor) -> None:
        if tokens.shape[1] > self.max_length:
            raise InputError(
                f"windows of {tokens.shape[1]} tokens are longer than backbone.max_length={self.max_length}; raise it"
            )


def masked_mean(h: Tensor, visible: Tensor) -> Tensor:
    """(B, N, D) -> (B, D): the mean over the tokens where `visible` (B, N) is True; 0 where none is."""
    weight = visible.to(h.dtype)
    return torch.einsum("bnd,bn->bd", h, weight) / weight.sum(dim=1, keepdim=True).clamp(min=1)


def _mask(visible: Tensor) -> Tensor | None:
    """The mask of attention; None, for which there are faster kernels, where a CPU sees that nothing is hidden."""
    return None if visible.device.type == "cpu" and bool(visible.all()) else visible


def student_from_teacher(teacher: LanguageModel) -> LanguageModel:
    """A student begun from layers 0, 2, 4 ... of its teacher, all else copied (DistilBERT, Sanh et al. 2019, Sec. 3).

    Raises:
        InputError: a teacher of one layer.
    """
    config = copy.deepcopy(teacher.model.config)
    depth = config.num_hidden_layers
    if depth < 2:
        raise InputError(f"a teacher of {depth} layer cannot be halved: backbone.layers must be 2 or more")
    config.num_hidden_layers = depth // 2
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: 2 * (depth // 2) : 2]
    student = type(teacher.model)(config)
    weights = teacher.model.state_dict()
    student.load_state_dict({name: weights[_name_in_teacher(name)] for name in student.state_dict()})
    return LanguageModel(student, teacher.pad_id, teacher.causal)


def _name_in_teacher(name: str) -> str:
    return _LAYER.sub(lambda found: f"{found[1]}{2 * int(found[2])}", name)
