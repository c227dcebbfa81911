"""Encoders of sound: wav2vec 2.0 and HuBERT of transformers, with random weights or from a checkpoint.

transformers takes seconds to import, so it is imported only when a model is built.
"""

import math
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.errors import InputError, told
from ssl_lightning.modules.backbones.language_model import NOT_SIZES, attention_mask, masked_mean
from ssl_lightning.modules.backbones.text import from_checkpoint, random_model
from ssl_lightning.modules.parts import CalledByParts
from ssl_lightning.modules.patches import replace_tokens
from ssl_lightning.modules.segment_means import segment_means
from ssl_lightning.ranges import Fraction, PositiveInt

_ARCHITECTURES = ("wav2vec2", "hubert")


class AudioEncoder(CalledByParts):
    """Wraps `model` of transformers: convolutions make a frame of each short window, a Transformer relates the frames.

    Samples beyond a clip's length change neither its frames nor its embedding. Only a checkpoint whose convolutions are
    normalized over time (`feat_extract_norm: group`) lets them in, in transformers too.

    Args:
        model: Wav2Vec2Model or HubertModel.
        sample_rate: samples a second of what it reads.
        layer: the layer whose output is averaged to the embedding, from 1; None: the last.
        segments: the embedding tells the order of the frames by their `segment_means`; None: it is their mean.
        mels: frames are made of so many log-mel bands, by one layer, in the place of the convolutions, which then only
            tell how long they are and how wide; None: of the waveform.

    Attributes:
        out_dim: D, the width of the Transformer, and of the embedding without `segments`.
        feature_dim: C, the channels of a frame before the Transformer.
        hop: samples from one frame to the next.
        window: samples that a frame is made of.
    """

    kinds = ("audio",)

    def __init__(
        self,
        model: Any,
        sample_rate: int | None,
        layer: int | None = None,
        segments: int | None = None,
        mels: int | None = None,
    ) -> None:
        super().__init__()
        config = model.config
        self.model, self.sample_rate, self.layer, self.segments, self.mels = model, sample_rate, layer, segments, mels
        self.out_dim: int = config.hidden_size
        self.feature_dim: int = config.conv_dim[-1]
        self.kernels, self.strides = list(config.conv_kernel), list(config.conv_stride)
        self.hop = math.prod(self.strides)
        steps = accumulate(self.strides, initial=1, func=lambda a, b: a * b)
        self.window = 1 + sum((kernel - 1) * step for kernel, step in zip(self.kernels, steps, strict=False))
        self.depth(layer)
        if mels is not None:
            model.feature_extractor = _LogMelFrames(
                mels, self.feature_dim, sample_rate or 16_000, self.hop, self.window
            )

    @property
    def arguments(self) -> dict[str, Any]:
        """Plain arguments of `audio_encoder` for a network of the same architecture and sizes."""
        config = self.model.config
        fields = {key: value for key, value in config.to_dict().items() if key not in NOT_SIZES and key[0] != "_"}
        own = {"architecture": config.model_type, "sample_rate": self.sample_rate, "layer": self.layer}
        return {**fields, **own, "segments": self.segments, "mels": self.mels}

    def depth(self, layer: int | None, key: str = "backbone.layer") -> int:
        """The number of a layer, from 1; None is the last.

        Raises:
            InputError: there is no such layer; `key` says in the config which was asked for.
        """
        count: int = self.model.config.num_hidden_layers
        if layer is not None and not 0 < layer <= count:
            raise InputError(f"{key}={layer} is none of the {count} layers")
        return count if layer is None else layer

    def frames(self, length: Tensor) -> Tensor:
        """The number of frames of clips of `length` samples; those shorter than a window have one, with silence."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            length = (length - kernel).div(stride, rounding_mode="floor") + 1
        return length.clamp(min=1)

    def forward(self, waveform: Tensor, length: Tensor | None = None) -> Tensor:
        """(B, S) -> (B, D), or (B, D * (2 + segments)): of the first `length` (B,) samples, by default of all."""
        return self.pooled(*self.hidden(waveform, length, self.layer))

    def pooled(self, frames: Tensor, visible: Tensor) -> Tensor:
        """(B, T, D) -> (B, D), or (B, D * (2 + segments)): one vector of the frames that are `visible` (B, T)."""
        if self.segments is None:
            return masked_mean(frames, visible)
        return segment_means(frames.mT, visible.sum(dim=1), self.segments)

    def hidden(self, waveform: Tensor, length: Tensor | None = None, layer: int | None = None) -> tuple[Tensor, Tensor]:
        """(B, S) -> the output (B, T, D) of a layer, and which frames are `visible` (B, T)."""
        features, visible = self.features(waveform, length)
        return self.context(features, visible, layer=layer), visible

    def features(self, waveform: Tensor, length: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, S) -> the frames (B, T, C) of the convolutions, and which of them are `visible` (B, T), not padding.

        Each clip is first shifted and scaled to mean 0 and variance 1, as by transformers' feature extractor.
        """
        B, S = waveform.shape
        length = waveform.new_full((B,), S, dtype=torch.long) if length is None else length
        heard = torch.arange(S, device=waveform.device) < length[:, None]
        x = F.pad(_normalized(waveform, heard), (0, max(0, self.window - S)))
        h = self.model.feature_extractor(x).transpose(1, 2)
        return h, self.visible(length, S)

    def visible(self, length: Tensor, samples: int) -> Tensor:
        """(B, T): which frames of clips of `length` (B,), padded to `samples`, are not padding."""
        T = int(self.frames(torch.tensor(samples)))
        return torch.arange(T, device=length.device) < self.frames(length)[:, None]

    def normalized(self, features: Tensor) -> Tensor:
        """Frames (B, T, C) after the norm that stands before the Transformer."""
        return getattr(self.model.feature_projection, "layer_norm", nn.Identity())(features)

    def context(
        self, features: Tensor, visible: Tensor, masked: Tensor | None = None, layer: int | None = None
    ) -> Tensor:
        """Frames (B, T, C) -> the output (B, T, D) of the Transformer's last layer, or of an earlier one.

        Args:
            features: the output of `features`.
            visible: (B, T) bool, False for padding.
            masked: (B, T) bool, True for the frames that are hidden from the Transformer by its mask token.
            layer: from 1; None: the last. An earlier one's output is normalized, without scale and shift.
        """
        *outputs, last = self.layers(features, visible, masked)
        h = outputs[self.depth(layer) - 1]
        return last if len(outputs) == self.depth(layer) else F.layer_norm(h, h.shape[-1:])

    def layers(self, features: Tensor, visible: Tensor, masked: Tensor | None = None, part: str = "") -> list[Tensor]:
        """Frames (B, T, C) -> the outputs (B, T, D) of all layers, and the last one's behind the norm, if any.

        `part`: of a layer, such as "feed_forward", whose output is taken for that of the layer.
        """
        projection, encoder, outputs = self.model.feature_projection, self.model.encoder, []
        h = projection.dropout(projection.projection(self.normalized(features)))
        if masked is not None:
            h = replace_tokens(h, masked, self.model.masked_spec_embed)
        parts = [layer.get_submodule(part) for layer in encoder.layers]
        hooks = [layer.register_forward_hook(lambda *call: outputs.append(call[2])) for layer in parts]
        last = encoder(h, attention_mask=attention_mask(visible)).last_hidden_state
        for hook in hooks:
            hook.remove()
        return [*outputs, last]

    def save_pretrained(self, folder: Path) -> None:
        """Writes what AutoModel and AutoFeatureExtractor of transformers open.

        Raises:
            InputError: the frames are log-mel bands.
        """
        if self.mels is not None:
            raise InputError("transformers has no such encoder of log-mel bands; give format=safetensors")
        import transformers

        transformers.utils.logging.disable_progress_bar()
        self.model.save_pretrained(folder)
        rate = {} if self.sample_rate is None else {"sampling_rate": self.sample_rate}
        transformers.Wav2Vec2FeatureExtractor(**rate, return_attention_mask=True).save_pretrained(folder)

    def compiled_parts(self) -> list[nn.Module]:
        return [self.model.feature_extractor, self.model.encoder]


class _LogMelFrames(nn.Module):
    """(B, S) -> (B, C, T): a layer with GELU on the log-mel bands around the middle of each window."""

    def __init__(self, mels: int, channels: int, sample_rate: int, hop: int, window: int) -> None:
        super().__init__()
        from ssl_lightning.modules.spectrogram import LogMel

        self.hop, self.window = hop, window
        self.log_mel = LogMel(sample_rate, round(0.032 * sample_rate), hop, mels)
        self.layer = nn.Conv1d(mels, channels, 1)

    def forward(self, waveform: Tensor) -> Tensor:
        T = 1 + (waveform.shape[1] - self.window) // self.hop
        decibels = self.log_mel(F.pad(waveform, (self.hop - self.window // 2, 0)))[:, :, 1 : T + 1]
        return F.gelu(self.layer(decibels / 20))


def _normalized(waveform: Tensor, heard: Tensor) -> Tensor:
    """Clips (B, S) with mean 0 and variance 1 over the samples where `heard` (B, S), and 0 elsewhere."""
    count = heard.sum(dim=1, keepdim=True).clamp(min=1)
    x = (waveform - (waveform * heard).sum(dim=1, keepdim=True) / count) * heard
    return x / (x.square().sum(dim=1, keepdim=True) / count + 1e-7).sqrt()


def audio_encoder(
    architecture: Literal["wav2vec2", "hubert"] = "wav2vec2",
    sample_rate: PositiveInt | None = None,
    width: PositiveInt | None = None,
    layers: PositiveInt | None = None,
    heads: PositiveInt | None = None,
    dropout: Fraction | None = None,
    layer: PositiveInt | None = None,
    segments: PositiveInt | None = None,
    mels: PositiveInt | None = None,
    pretrained: str | None = None,
    **options: Any,
) -> AudioEncoder:
    """An encoder of transformers with random weights, or with the weights and the sizes of `pretrained`.

    Args:
        architecture: which of the two; they compute the same.
        sample_rate: samples a second, from the data.
        width: D.
        layers: number of layers of the Transformer.
        heads: number of attention heads.
        dropout: rate of all dropouts.
        layer: the layer whose output is averaged to the embedding, from 1; None: the last.
        segments, mels: as of `AudioEncoder`.
        pretrained: a checkpoint of transformers: a folder or a name on the hub. In a config also a run folder, which
            `config.build` resolves.
        options: fields of the architecture's config (conv_dim, conv_kernel, conv_stride ...).

    Raises:
        InputError: transformers does not know an option, sizes do not fit, or the pretrained weights are missing or of
            another architecture.
    """
    import transformers

    if pretrained is not None:
        return AudioEncoder(_load(pretrained), sample_rate, layer, segments, mels)
    sizes: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    sizes |= dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), dropout)
    fields = {"layerdrop": 0.0} | {name: value for name, value in sizes.items() if value is not None}
    with told(f"transformers refuses this {architecture}", ValueError, TypeError):
        model = random_model(transformers.AutoModel, architecture, fields, options)
    return AudioEncoder(model, sample_rate, layer, segments, mels)


audio_encoder.kinds = AudioEncoder.kinds  # type: ignore[attr-defined]


def _load(pretrained: str) -> Any:
    import transformers

    model = from_checkpoint(transformers.AutoModel, pretrained)
    if model.config.model_type not in _ARCHITECTURES:
        known = " or ".join(_ARCHITECTURES)
        raise InputError(f"backbone.pretrained={pretrained} is a {model.config.model_type}, not {known}")
    model.config.layerdrop = 0.0  # a skipped layer has no gradient, for which other devices would wait
    return model
