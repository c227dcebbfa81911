"""BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding.

Devlin, Chang, Lee and Toutanova, 2018. https://arxiv.org/abs/1810.04805
(RoBERTa, Liu et al. 2019, https://arxiv.org/abs/1907.11692: without next-sentence prediction, with new masks every
time)
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.losses.language import chosen_cross_entropy
from ssl_lightning.losses.precision import at_least_float32
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.language_model import LanguageModel, masked_mean


class BERT(Method):
    """Predicts masked tokens from both sides of their context and, optionally, whether one sentence follows another.

    Deviation: the embedding is the mean of the tokens, since without the second task nothing trains [CLS]; windows then
    have neither [CLS] nor [SEP].

    Args:
        backbone: a masked language model.
        next_sentence: whether to add next-sentence prediction, with `transform=nsp`.
    """

    requires = ("inputs", "targets", "masked")
    backbone_kind = "masked"
    min_batch_size = 1
    token_loss = "loss"
    figures = {
        "val/masked_accuracy": ("hidden tokens guessed", "{:.1%}"),
        "val/next_sentence_accuracy": ("next sentence told", "{:.1%}"),
    }

    backbone: LanguageModel
    next_sentence: bool = False

    def __post_init__(self) -> None:
        if self.next_sentence:  # BERT's pooler and the classifier on it
            self.token_loss, self.backbone.frame, D = "token_loss", ("cls", "sep"), self.backbone.out_dim
            self.pair_head = nn.Sequential(nn.Linear(D, D), nn.Tanh(), nn.Linear(D, 2))

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sec. 3.1: cross-entropy over masked tokens, plus that of the next sentence."""
        inputs, masked = batch["inputs"], batch["masked"]
        visible = inputs != self.backbone.pad_id
        h = self.backbone.hidden(inputs, visible, batch.get("segment"))
        loss, accuracy, weight = chosen_cross_entropy(h, self.backbone, batch["targets"], masked)
        result = {"masked_accuracy": accuracy, "weight": weight}
        if self.next_sentence:
            result |= {"token_loss": loss.detach(), **self._follow(h, batch)}
            loss = loss + result["next_sentence_loss"]
        return {"loss": loss, "embedding": masked_mean(h.detach(), visible), **result}

    def _follow(self, h: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Loss and accuracy of the next sentence, from the hidden state of [CLS], the first token.

        Deviation: each pair is weighted by its number of masked tokens, so that both losses share one `weight`. The
        paper's mean weighs short pairs as much as long ones.
        """
        if "is_next" not in batch:
            raise InputError("method.next_sentence=true needs pairs of sentences: use transform=nsp")
        logits, is_next = at_least_float32(self.pair_head(h[:, 0])), batch["is_next"]
        share = batch["masked"].sum(dim=1).to(logits.dtype)
        share = share / share.sum().clamp(min=1)
        loss = (F.cross_entropy(logits, is_next, reduction="none") * share).sum()
        accuracy = (logits.detach().argmax(dim=1) == is_next).to(torch.float32).mean()
        return {"next_sentence_loss": loss, "next_sentence_accuracy": accuracy}
