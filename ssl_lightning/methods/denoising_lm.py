"""BART: Denoising Sequence-to-Sequence Pre-training for Natural Language Generation, Translation, and Comprehension.

Lewis et al., 2019. https://arxiv.org/abs/1910.13461
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ssl_lightning.losses.language import chosen_cross_entropy
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.language_model import LanguageModel, masked_mean


class BART(Method):
    """An encoder reads a corrupted text, and a decoder generates the original text, token by token.

    Args:
        backbone: an encoder-decoder. Deviation: the embedding is the encoder's, so that no decoder is needed
            downstream; the paper uses the decoder's last state. Infilling shortens texts, so the encoder's last learned
            positions stay untrained, as in the authors' code; long texts of a probe, which nothing shortens, use them.
    """

    requires = ("inputs", "targets")
    backbone_kind = "seq2seq"
    min_batch_size = 1
    token_loss = "loss"
    figures = {"val/token_accuracy": ("tokens guessed", "{:.1%}")}

    backbone: LanguageModel

    def __post_init__(self) -> None:
        self.backbone.frame = ("", "sep")

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sec. 2.2: cross-entropy of the decoder on the original text, without padding."""
        inputs, targets = batch["inputs"], batch["targets"]
        visible, counted = inputs != self.backbone.pad_id, targets != self.backbone.pad_id
        encoded, h = self.backbone.decoded(inputs, visible, targets)
        loss, accuracy, weight = chosen_cross_entropy(h, self.backbone, targets, counted)
        embedding = masked_mean(encoded.detach(), visible)
        return {"loss": loss, "embedding": embedding, "token_accuracy": accuracy, "weight": weight}
