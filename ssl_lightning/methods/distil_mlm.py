"""DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter.

Sanh, Debut, Chaumond and Wolf, 2019. https://arxiv.org/abs/1910.01108
"""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.losses.language import distillation, rows_at_once, select_rows, token_cross_entropy
from ssl_lightning.losses.precision import at_least_float32
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.language_model import LanguageModel, masked_mean, student_from_teacher
from ssl_lightning.ranges import NonNegativeFloat, PositiveFloat


class DistilBERT(Method):
    """A student with half the layers predicts masked tokens, taught by the true tokens and by a teacher.

    The student starts from every second layer of the teacher (Sec. 3). Deviations: it keeps the teacher's token-type
    embeddings, so that it has the same architecture. Without a pretrained teacher, the teacher trains alongside the
    student, from random weights, on masked tokens alone.

    Args:
        backbone: a masked language model, the teacher to train; unused if `teacher` is given.
        teacher: a trained masked language model with the same tokenizer, which stays frozen. In a config a run folder
            or a checkpoint of transformers, which `config.build` opens.
        temperature: softens both distributions.
        soft_weight: weight of the loss against the teacher's distribution (5 in the authors' code).
        hard_weight: weight of the loss against the true tokens (2).
        cosine_weight: weight of the cosine distance between the last hidden states (1).
    """

    requires = ("inputs", "targets", "masked")
    backbone_kind = "masked"
    min_batch_size = 1
    token_loss = "token_loss"
    starts_from = ("backbone.pretrained", "method.teacher")
    figures = {"val/masked_accuracy": ("hidden tokens guessed", "{:.1%}")}

    backbone: LanguageModel
    teacher: LanguageModel | None = None
    temperature: PositiveFloat = 2.0
    soft_weight: NonNegativeFloat = 5.0
    hard_weight: NonNegativeFloat = 2.0
    cosine_weight: NonNegativeFloat = 1.0

    def __post_init__(self) -> None:
        self.teacher_learns = self.teacher is None
        self.teacher = self.teacher or self.backbone
        self.backbone = student_from_teacher(self.teacher)
        self.teacher.requires_grad_(self.teacher_learns)
        self.in_evaluation = () if self.teacher_learns else ("teacher",)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sec. 2, the "training loss": soft, hard and cosine loss, and the teacher's own loss if it trains.

        Deviation: distributions are compared at masked tokens only, which saves most of the head's work
        (`restrict_ce_to_mask` of the authors' code).
        """
        assert self.teacher is not None
        inputs, masked = batch["inputs"], batch["masked"]
        visible = inputs != self.backbone.pad_id
        h, guide = self.backbone.hidden(inputs, visible), self.teacher.hidden(inputs, visible)
        rows, guide_rows, targets = (select_rows(x, masked) for x in (h, guide, batch["targets"]))
        chunk = rows_at_once(self.backbone.vocab_size)
        soft, hard, accuracy = distillation(
            rows, self.backbone.logits, targets, guide_rows, self.teacher.logits, self.temperature, chunk
        )
        cosine = _cosine_distance(h, guide.detach(), visible, masked)
        result = {"soft_loss": soft, "token_loss": hard, "cosine_loss": cosine, "masked_accuracy": accuracy}
        loss = self.soft_weight * soft + self.hard_weight * hard + self.cosine_weight * cosine
        if self.teacher_learns:
            own, right = token_cross_entropy(guide_rows, self.teacher.logits, targets, chunk)
            result |= {"teacher_loss": own, "teacher_accuracy": right}
            loss = loss + own
        weight = loss.new_tensor(len(targets))
        return {"loss": loss, "embedding": masked_mean(h.detach(), visible), **result, "weight": weight}


def _cosine_distance(h: Tensor, guide: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
    """1 - cosine similarity of two hidden states (B, N, D), averaged over the visible tokens: scalar.

    Each window is weighted by its number of masked tokens, as in the other losses, so they share one `weight`.
    """
    distance = 1 - F.cosine_similarity(at_least_float32(h), at_least_float32(guide), dim=2)
    each = (distance * visible).sum(dim=1) / visible.sum(dim=1).clamp(min=1)
    share = masked.sum(dim=1).to(each.dtype)
    return (each * share).sum() / share.sum().clamp(min=1)
