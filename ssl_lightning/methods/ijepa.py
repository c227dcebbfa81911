"""I-JEPA: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun and Ballas, 2023. https://arxiv.org/abs/2301.08243
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.errors import InputError
from ssl_lightning.losses.reconstruction import smooth_l1
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.vit import NarrowTransformer, ViT, require_vit
from ssl_lightning.modules.ema import make_teacher, move_teacher
from ssl_lightning.modules.masking import block_masks
from ssl_lightning.modules.patches import gather_tokens, patchify, scatter_tokens, unpatchify
from ssl_lightning.optim.schedules import linear
from ssl_lightning.ranges import Fraction, PositiveInt, PositiveSpan


class IJEPA(Method):
    """Predicts, from a part of an image, an EMA teacher's representations of other blocks of it.

    Deviations: weight decay is constant, as in App. C, Table 13, where a rise from 0.04 to 0.4 is worse with few labels
    and better with all. Initial weights are those of `ViT`, without the authors' smaller ones in deeper layers.

    Args:
        backbone: a ViT; the paper's has no class token.
        predictor_width: width of the predictor.
        predictor_layers: number of its transformer blocks.
        predictor_heads: number of their attention heads.
        num_targets: M, number of target blocks per image.
        target_scale: range of the area of a target block, as a fraction of the image.
        target_aspect: range of its height / width.
        context_scale: range of the area of the context block, before the targets are removed.
        min_context_ratio: minimum fraction of the patches in the context (see `masking.block_masks`).
        momentum: initial momentum of the teacher; it rises to 1 linearly (App. A.1).
    """

    views = 1
    backbone_kind = "mean of patches"
    min_batch_size = 1

    backbone: ViT
    predictor_width: PositiveInt = 384
    predictor_layers: PositiveInt = 6
    predictor_heads: PositiveInt = 12
    num_targets: PositiveInt = 4
    target_scale: PositiveSpan = (0.15, 0.2)
    target_aspect: PositiveSpan = (0.75, 1.5)
    context_scale: PositiveSpan = (0.85, 1.0)
    min_context_ratio: Fraction = 0.3
    momentum: Fraction = 0.996

    def __post_init__(self) -> None:
        target, context = list(self.target_scale), list(self.context_scale)
        if not target[1] < context[0] <= context[1] <= 1:
            raise InputError(f"method.target_scale={target} and method.context_scale={context} must rise to at most 1")
        require_vit(self.backbone, "IJEPA")
        self.predictor = Predictor(self.backbone, self.predictor_width, self.predictor_layers, self.predictor_heads)
        self.teacher = cast(ViT, make_teacher(self.backbone))

    @property
    def encoder(self) -> Any:
        """The teacher, which the paper evaluates (App. A.1)."""
        return self.teacher

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sec. 3: the error of the predicted representations, averaged over the target blocks."""
        x = batch["views"][0]
        visible, masked = self._masks(x)
        with torch.no_grad():
            h = self.teacher.encode(self.teacher.patch_tokens(x))
            target = gather_tokens(self.teacher.of_patches(h), masked.flatten(1)).view(*masked.shape, -1)
        return {"loss": smooth_l1(self.predict(x, visible, masked), target), "embedding": self.teacher.pooled(h)}

    def predict(self, x: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """From the patches at `visible` (B, V), predicts those at `masked` (B, M, K), block by block: (B, M, K, D)."""
        h = self.backbone.of_patches(self.backbone.encode(self.backbone.patch_tokens(x), visible))
        return self.predictor(h, visible, masked)

    def after_step(self, progress: float) -> None:
        move_teacher(self.teacher, self.backbone, linear(progress, self.momentum, 1.0))

    def _masks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spans = (self.target_scale, self.target_aspect, self.context_scale)
        visible, masked = block_masks(len(x), self.backbone.grid, self.num_targets, *spans, self.min_context_ratio)
        return visible.to(x.device, non_blocking=True), masked.to(x.device, non_blocking=True)

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """`image`, `context` (the visible patches) and `nearest patches`, a picture of the predicted representations.

        Each predicted patch is shown as the patch of this batch with the nearest representation.
        """
        x, vit = batch["views"][0], self.backbone
        visible, masked = self._masks(x)
        h = self.teacher.of_patches(self.teacher.encode(self.teacher.patch_tokens(x)))
        known = F.layer_norm(h, h.shape[-1:]).flatten(0, 1)  # (B N, D)
        predicted = self.predict(x, visible, masked).flatten(1, 2)  # (B, M K, D)
        nearest = torch.cdist(predicted.flatten(0, 1).float(), known.float()).argmin(dim=1).view(len(x), -1)
        patches = patchify(x, vit.patch_size)
        seen = scatter_tokens(torch.zeros_like(patches), visible, gather_tokens(patches, visible))
        painted = scatter_tokens(seen, masked.flatten(1), patches.flatten(0, 1)[nearest])
        shown = {"context": seen, "nearest patches": painted}
        return {"image": x, **{title: unpatchify(part, vit.in_channels) for title, part in shown.items()}}


class Predictor(NarrowTransformer):
    """A narrow transformer that predicts representations at given places from encoded patches."""

    def __init__(self, vit: ViT, width: int, layers: int, heads: int) -> None:
        super().__init__(vit, width, layers, heads, vit.out_dim, key="method.predictor_")

    def forward(self, h: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """h (B, V, D) of the patches at `visible` (B, V) -> predictions (B, M, K, D) at `masked` (B, M, K)."""
        B, M, K = masked.shape
        context = self.enter(h) + self.position[visible]
        queries = self.token + self.position[masked]
        context = context[:, None].expand(-1, M, -1, -1)
        tokens = self.blocks(torch.cat([context, queries.to(context.dtype)], dim=2).flatten(0, 1))
        return cast(Tensor, self.leave(tokens[:, -K:])).view(B, M, K, -1)
