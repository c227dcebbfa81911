"""DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter.

Sanh, Debut, Chaumond and Wolf, 2019. https://arxiv.org/abs/1910.01108
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.losses.language import distillation, rows_at_once, select_rows, token_cross_entropy
from ssl_lightning.losses.precision import at_least_float32
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.language_model import LanguageModel, masked_mean, student_from_teacher
from ssl_lightning.modules.backbones.text import language_model


class DistilBERT(Method):
    """A student of half the layers guesses hidden tokens as its teacher does, and as they were.

    The student begins from every second layer of the teacher (Sec. 3). Without a trained teacher, the teacher learns
    beside it, from random weights and the hidden tokens alone.

    Args:
        backbone: a masked language model: the teacher that is to be trained, or, where `teacher` is given, not used.
        teacher: a run folder, or a checkpoint of transformers, of a masked language model with the same tokenizer; its
            weights stay as they are.
        temperature: softens both distributions.
        soft_weight: of the loss against the teacher's distribution; `hard_weight`: of that against the tokens
            themselves; `cosine_weight`: of that between the last hidden states. 5, 2 and 1 in the authors' code.
    """

    requires = ("inputs", "targets", "masked")
    backbone_kind = "masked"
    min_batch_size = 1
    token_loss = "token_loss"
    starts_from = ("backbone.pretrained", "method.teacher")
    figures = {"val/masked_accuracy": ("hidden tokens guessed", "{:.1%}")}

    def __init__(
        self,
        backbone: LanguageModel,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        teacher: str | None = None,
        temperature: float = 2.0,
        soft_weight: float = 5.0,
        hard_weight: float = 2.0,
        cosine_weight: float = 1.0,
    ) -> None:
        super().__init__(optimizer, schedule)
        self.teacher = backbone
        self.teacher_learns = teacher is None
        if teacher is not None:
            self.teacher = language_model("", backbone.vocab_size, backbone.pad_id, "masked", pretrained=teacher)
        self.backbone = student_from_teacher(self.teacher)
        self.teacher.requires_grad_(self.teacher_learns)
        self.temperature = temperature
        self.soft_weight, self.hard_weight, self.cosine_weight = soft_weight, hard_weight, cosine_weight

    def forward(self, x: Tensor) -> Tensor:
        """The student's embedding."""
        return self.backbone(x)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sec. 3, the "training loss": soft, hard and cosine loss; and the teacher's own, if it learns.

        Deviation: both distributions are compared where tokens are hidden, in place of everywhere, which leaves the
        head to few rows (`restrict_ce_to_mask` of the authors' code).
        """
        inputs, masked = batch["inputs"], batch["masked"]
        visible = inputs != self.backbone.pad_id
        h, guide = self.backbone.hidden(inputs, visible), self.teacher.hidden(inputs, visible)
        rows, guide_rows, targets = (select_rows(x, masked) for x in (h, guide, batch["targets"]))
        chunk = rows_at_once(self.backbone.vocab_size)
        soft, hard, accuracy = distillation(
            rows, self.backbone.logits, targets, guide_rows, self.teacher.logits, self.temperature, chunk
        )
        cosine = _apart(h, guide.detach(), visible, masked)
        result = {"soft_loss": soft, "token_loss": hard, "cosine_loss": cosine, "masked_accuracy": accuracy}
        loss = self.soft_weight * soft + self.hard_weight * hard + self.cosine_weight * cosine
        if self.teacher_learns:
            own, right = token_cross_entropy(guide_rows, self.teacher.logits, targets, chunk)
            result |= {"teacher_loss": own, "teacher_accuracy": right}
            loss = loss + own
        weight = loss.new_tensor(len(targets))
        return {"loss": loss, "embedding": masked_mean(h.detach(), visible), **result, "weight": weight}


def _apart(h: Tensor, guide: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
    """1 - cosine of the hidden states (B, N, D) of both, the mean over the visible tokens: scalar.

    A window counts by its number of hidden tokens, as its other losses do, so that one weight serves all of them.
    """
    apart = 1 - F.cosine_similarity(at_least_float32(h), at_least_float32(guide), dim=2)
    each = (apart * visible).sum(dim=1) / visible.sum(dim=1).clamp(min=1)
    share = masked.sum(dim=1).to(each.dtype)
    return (each * share).sum() / share.sum().clamp(min=1)
