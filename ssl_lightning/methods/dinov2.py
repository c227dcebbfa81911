"""DINOv2: Learning Robust Visual Features without Supervision.

Oquab et al., 2023. https://arxiv.org/abs/2304.07193 (masked patches: iBOT, Zhou et al. 2021, arXiv 2111.07832)
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ssl_lightning.losses.clustering import cross_entropy, koleo, sinkhorn, swapped
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.vit import ViT, require_vit
from ssl_lightning.modules.ema import make_teacher, move_teacher
from ssl_lightning.modules.heads import dino_head
from ssl_lightning.modules.masking import blockwise_mask
from ssl_lightning.modules.multi_crop import count_global, encode_by_size
from ssl_lightning.modules.patches import replace_tokens
from ssl_lightning.optim.schedules import momentum_cosine, warmed
from ssl_lightning.ranges import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, PositiveSpan


class DINOv2(Method):
    """DINO on images, iBOT on masked patches: the student's distribution must match an EMA teacher's for the whole
    image.

    Sinkhorn-Knopp keeps both from collapsing, KoLeo spreads the embeddings. Defaults are those of the authors' code for
    ImageNet-1k; the paper's own runs have a momentum of 0.994 and a weight decay that ends at 0.2. KoLeo is that of the
    code, too: the paper has it for the first global crop alone.

    Deviations: each global crop is masked or not by itself, so that its mask does not depend on the size of the batch
    (theirs: exactly half of a GPU's crops, at evenly spread ratios). For small networks, a plain ViT without LayerScale
    and drop path; no layer decay and no own rate of the patch embedding; gradients are clipped only by
    `trainer.gradient_clip_val` (theirs: 3); crops and colors are those of DINO.

    Args:
        backbone: a ViT with a class token.
        hidden_dim: width of the hidden layers of the two heads, of images and of patches.
        bottleneck_dim: width of their normalized outputs.
        prototypes: P, number of prototypes of each head.
        temperature: temperature of the student.
        teacher_temperature: temperature of the teacher, first and last, between which it rises linearly.
        teacher_warmup_epochs: number of epochs in which it rises.
        freeze_epochs: number of epochs in which the prototypes do not move.
        momentum: initial momentum of the teacher; it rises to 1 along a cosine.
        mask_ratio: range of the fraction of the patches that are masked, in an image of which some are.
        mask_probability: fraction of the global crops of which some are.
        patch_weight: weight of the loss on masked patches.
        koleo_weight: weight of KoLeo, summed over the global crops.
        weight_decay_end: weight decay at the end, which it approaches along a cosine; None: constant.
    """

    backbone_kind = "vit"

    backbone: ViT
    hidden_dim: PositiveInt = 2048
    bottleneck_dim: PositiveInt = 256
    prototypes: PositiveInt = 65536
    temperature: PositiveFloat = 0.1
    teacher_temperature: PositiveSpan = (0.04, 0.07)
    teacher_warmup_epochs: NonNegativeFloat = 30
    freeze_epochs: NonNegativeFloat = 1
    momentum: Fraction = 0.992
    mask_ratio: PositiveSpan = (0.1, 0.5)
    mask_probability: Fraction = 0.5
    patch_weight: NonNegativeFloat = 1.0
    koleo_weight: NonNegativeFloat = 0.1
    weight_decay_end: NonNegativeFloat | None = 0.4

    def __post_init__(self) -> None:
        require_vit(self.backbone, "DINOv2")
        dims = (self.backbone.out_dim, self.hidden_dim, self.bottleneck_dim, self.prototypes)
        self.head, self.patch_head = dino_head(*dims), dino_head(*dims)
        self.teacher = make_teacher(nn.ModuleList([self.backbone, self.head, self.patch_head]))
        self.mask_token = nn.Parameter(torch.zeros(self.backbone.out_dim))

    @property
    def encoder(self) -> Any:
        """The teacher, which the paper evaluates."""
        return self.teacher[0]  # type: ignore[index]

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sec. 4: the losses on images, on masked `patches`, and `koleo`, before they are weighted."""
        views = batch["views"]
        crops = count_global(views)
        x = torch.cat(views[:crops])
        masked = torch.cat([self._mask(view) for view in views[:crops]])
        h, targets, patch_targets = self._teach(x, masked, crops)

        tokens = self.backbone.encode(replace_tokens(self.backbone.patch_tokens(x), masked, self.mask_token))
        global_h = self.backbone.pooled(tokens)
        local = encode_by_size(lambda x: self.head(self.backbone(x)), views[crops:])
        images = swapped([*self.head(global_h).chunk(crops), *local], targets, self.temperature)

        scores = self.patch_head(self.backbone.of_patches(tokens)[masked])  # (masked patches, P)
        weight = (1 / masked.sum(dim=1, keepdim=True).clamp(min=1)).expand_as(masked)[masked]
        patches = (cross_entropy(scores, patch_targets, self.temperature) * weight).sum() / len(x)
        spread = torch.stack([koleo(part) for part in global_h.chunk(crops)]).sum()
        loss = images + self.patch_weight * patches + self.koleo_weight * spread
        terms = {"images": images, "patches": patches, "koleo": spread}
        return {"loss": loss, "embedding": h[: len(views[0])], **terms}

    def _mask(self, x: Tensor) -> Tensor:
        return blockwise_mask(len(x), self.backbone.grid, self.mask_ratio, self.mask_probability, x.device)

    @torch.no_grad()
    def _teach(self, x: Tensor, masked: Tensor, crops: int) -> tuple[Tensor, list[Tensor], Tensor]:
        """Of the whole global crops: embeddings, targets (B, P) of each, and targets of the masked patches."""
        backbone, head, patch_head = cast(tuple[ViT, nn.Module, nn.Module], tuple(self.teacher))  # type: ignore[arg-type]
        tokens = backbone.encode(backbone.patch_tokens(x))
        h = backbone.pooled(tokens)
        temperature = warmed(self.epoch, self.teacher_warmup_epochs, self.teacher_temperature)
        targets = sinkhorn(head(h), temperature).chunk(crops)
        return h, list(targets), sinkhorn(patch_head(backbone.of_patches(tokens)[masked]), temperature)

    def frozen(self) -> list[Any]:
        heads = (self.head, self.patch_head) if self.epoch < self.freeze_epochs else ()
        return [head[1].weight for head in heads]

    def after_step(self, progress: float) -> None:
        student = nn.ModuleList([self.backbone, self.head, self.patch_head])
        move_teacher(self.teacher, student, momentum_cosine(progress, self.momentum, 1.0))
