"""GPT: Improving Language Understanding by Generative Pre-Training.

Radford, Narasimhan, Salimans and Sutskever, 2018.
https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ssl_lightning.losses.language import chosen_cross_entropy
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.language_model import LanguageModel, masked_mean


class GPT(Method):
    """Predicts each token from the tokens before it.

    Args:
        backbone: a causal language model.
    """

    requires = ("tokens",)
    backbone_kind = "causal"
    min_batch_size = 1
    token_loss = "loss"
    figures = {"val/token_accuracy": ("tokens guessed", "{:.1%}")}

    backbone: LanguageModel

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 1: a window of N tokens has N - 1 targets, without padding."""
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        visible, counted = inputs != self.backbone.pad_id, targets != self.backbone.pad_id
        h = self.backbone.hidden(inputs, visible)
        loss, accuracy, weight = chosen_cross_entropy(h, self.backbone, targets, counted)
        embedding = masked_mean(h.detach(), visible)
        return {"loss": loss, "embedding": embedding, "token_accuracy": accuracy, "weight": weight}
