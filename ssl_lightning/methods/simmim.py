"""SimMIM: A Simple Framework for Masked Image Modeling.

Xie, Zhang, Cao, Lin, Bao, Yao, Dai and Hu, 2021. https://arxiv.org/abs/2111.09886
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.losses.reconstruction import masked_l1
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.vit import ViT, require_vit
from ssl_lightning.modules.masking import count_masked, unit_mask
from ssl_lightning.modules.patches import painted_over, patchify, replace_tokens
from ssl_lightning.ranges import Fraction, PositiveInt


class SimMIM(Method):
    """Replaces masked patches by a learned token before the encoder; a linear layer predicts their pixels.

    Deviation: the ViT has absolute positions, as for all methods here; the authors' has relative ones and LayerScale.

    Args:
        backbone: a ViT.
        mask_ratio: fraction of mask units to mask (Table 1: 0.6 with units of 32 pixels).
        mask_patch_size: side of a unit in pixels, a multiple of the patch size. Units larger than a patch cannot be
            predicted from the nearest pixels.
    """

    views = 1
    backbone_kind = "mean of patches"
    min_batch_size = 1

    backbone: ViT
    mask_ratio: Fraction = 0.6
    mask_patch_size: PositiveInt = 32

    def __post_init__(self) -> None:
        vit = require_vit(self.backbone, "SimMIM")
        P, S = vit.patch_size, vit.image_size
        if self.mask_patch_size not in range(P, S, P):
            below = f"a multiple of backbone.patch_size={P} below the image's side of {S}"
            raise InputError(f"method.mask_patch_size={self.mask_patch_size} is not {below}")
        self.mask_token = nn.Parameter(torch.empty(vit.out_dim).normal_(std=0.02))
        self.head = nn.Linear(vit.out_dim, vit.in_channels * P**2)
        self.unit = self.mask_patch_size // P
        count_masked(ceil(vit.grid / self.unit) ** 2, self.mask_ratio)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 1: mean absolute error over the masked pixels only."""
        x = batch["views"][0]
        masked = self._mask(x)
        h, painted = self.paint(x, masked)
        loss = masked_l1(painted, patchify(x, self.backbone.patch_size), masked)
        return {"loss": loss, "embedding": self.backbone.pooled(h).detach()}

    def paint(self, x: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's output with the `masked` (B, N) bool patches replaced, and predicted pixels (B, N, P)."""
        tokens = self.backbone.patch_tokens(x)
        tokens = replace_tokens(tokens, masked, self.mask_token)
        h = self.backbone.encode(tokens)
        return h, self.head(self.backbone.of_patches(h))

    def _mask(self, x: Tensor) -> Tensor:
        return unit_mask(len(x), self.backbone.grid, self.unit, self.mask_ratio, x.device)

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """`image`, `masked` (masked patches in the mean color) and `reconstruction` (visible patches unchanged)."""
        x = batch["views"][0]
        masked = self._mask(x)
        return painted_over(x, self.backbone.patch_size, masked, self.paint(x, masked)[1])
