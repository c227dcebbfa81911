"""What image-text methods share: two encoders, and the space in which images and texts are compared."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.language_model import LanguageModel
from ssl_lightning.modules.grad_cache import grad_cached
from ssl_lightning.ranges import AtLeastTwo, PositiveInt


class SharedSpace(nn.ModuleDict):
    """Projects embeddings of images and of texts to (B, K); `scale` and `bias` are those of their similarities.

    The scale is learned as its logarithm. Neither is decayed, as tensors with one axis are not. The projections stand
    side by side: Muon leaves both alone, as it does all last layers.
    """

    fsdp_shard_with_root = True
    """Methods call its parts, but FSDP hooks only `forward`."""

    def __init__(self, image_dim: int, text_dim: int, out_dim: int, scale: float, bias: float | None) -> None:
        super().__init__()
        self.image, self.text = (nn.Linear(dim, out_dim, bias=False) for dim in (image_dim, text_dim))
        for layer in (self.image, self.text):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        self.log_scale = nn.Parameter(torch.tensor([math.log(scale)]))
        self.bias: Any = None if bias is None else nn.Parameter(torch.tensor([float(bias)]))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()


@dataclass(eq=False, repr=False)
class TwoTowers:
    """Mixed into a method: images are encoded by `backbone`, texts by `text_backbone`, a language model.

    The head of the language model is taken off. A text is embedded as the mean of its tokens, not as its last one, so
    that any language model will do.

    Args:
        text_backbone: language model from tokens (B, N) to (B, D').
        out_dim: K, width of the space in which images and texts are compared.
        chunk_size: number of images, and of texts, per device that are encoded at once; None: all. Memory holds the
            activations of one chunk, and the gradient is that of the whole batch, at the cost of a second forward pass.
        dedupe: whether equal captions or images of a batch are left out as each other's negatives.
    """

    requires: ClassVar[tuple[str, ...]] = ("views", "tokens")
    views: ClassVar[int | None] = 1
    uses_batch_negatives: ClassVar[bool] = True
    starts_from: ClassVar[tuple[str, ...]] = ("backbone.pretrained", "method.text_backbone.pretrained")

    text_backbone: Any
    out_dim: PositiveInt = 512
    chunk_size: AtLeastTwo | None = None
    dedupe: bool = False

    def join(self: Any, scale: float, bias: float | None = None) -> None:
        """Makes the space. Raises InputError for a `text_backbone` that is no single language model."""
        text = self.text_backbone
        if not isinstance(text, LanguageModel) or text.model.config.is_encoder_decoder:
            raise InputError("method.text_backbone must be a language model: bert_mini, modernbert_mini, gpt2_mini ...")
        text.model = text.model.base_model
        self.space = SharedSpace(self.backbone.out_dim, text.out_dim, self.out_dim, scale, bias)

    def encode_image(self: Any, x: Tensor) -> Tensor:
        return self.space.image(self.backbone(x))

    def encode_text(self: Any, tokens: Tensor) -> Tensor:
        return self.space.text(self.text_backbone(tokens))

    def encoded(self: Any, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of the images (B, D), and projections of images and texts (B, K), in chunks of `chunk_size`."""
        (h,) = grad_cached(lambda x: (self.backbone(x),), batch["views"][0], self.chunk_size, self.backbone)
        (text,) = grad_cached(lambda x: (self.text_backbone(x),), batch["tokens"], self.chunk_size, self.text_backbone)
        return h, self.space.image(h), self.space.text(text)
