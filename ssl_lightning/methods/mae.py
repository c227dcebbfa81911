"""MAE: Masked Autoencoders Are Scalable Vision Learners.

He, Chen, Xie, Li, Dollar and Girshick, 2021. https://arxiv.org/abs/2111.06377
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_lightning.losses.reconstruction import masked_mse, normalized_patches
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.vit import NarrowTransformer, ViT, require_vit
from ssl_lightning.modules.masking import count_masked, random_split
from ssl_lightning.modules.patches import gather_tokens, painted_over, patchify, scatter_tokens
from ssl_lightning.ranges import Fraction, PositiveInt


class MAE(Method):
    """Masks most patches of an image; an encoder sees the others, a light decoder reconstructs the masked ones.

    Args:
        backbone: a ViT, which encodes only the visible patches.
        mask_ratio: fraction of the patches to mask.
        decoder_width: width of the decoder.
        decoder_layers: number of its transformer blocks.
        decoder_heads: number of their attention heads.
        normalize_patches: whether to normalize each target patch to mean 0 and variance 1 (Table 1d).
    """

    views = 1
    backbone_kind = "vit"
    min_batch_size = 1

    backbone: ViT
    mask_ratio: Fraction = 0.75
    decoder_width: PositiveInt = 512
    decoder_layers: PositiveInt = 8
    decoder_heads: PositiveInt = 16
    normalize_patches: bool = True

    def __post_init__(self) -> None:
        require_vit(self.backbone, "MAE")
        self.decoder = Decoder(self.backbone, self.decoder_width, self.decoder_layers, self.decoder_heads)
        count_masked(self.backbone.patches, self.mask_ratio)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sec. 3: mean squared error over the pixels of the masked patches only."""
        x = batch["views"][0]
        visible, masked = random_split(len(x), self.backbone.patches, self.mask_ratio, x.device)
        h, painted = self.paint(x, visible, masked)
        target = gather_tokens(patchify(x, self.backbone.patch_size), masked)
        if self.normalize_patches:
            target, _, _ = normalized_patches(target)
        return {"loss": masked_mse(painted, target), "embedding": self.backbone.pooled(h).detach()}

    def paint(self, x: Tensor, visible: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's output for the patches at `visible` (B, V), and the predicted pixels (B, M, P) at `masked`."""
        h = self.backbone.encode(self.backbone.patch_tokens(x), visible)
        return h, gather_tokens(self.decoder(h, visible), masked)

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """`image`, `masked` (masked patches in the mean color) and `reconstruction` (visible patches unchanged).

        Normalized targets do not contain a patch's brightness and contrast, so these are taken from the image.
        """
        x, vit = batch["views"][0], self.backbone
        visible, masked = random_split(len(x), vit.patches, self.mask_ratio, x.device)
        _, painted = self.paint(x, visible, masked)
        patches = patchify(x, vit.patch_size)
        if self.normalize_patches:
            _, mean, deviation = normalized_patches(gather_tokens(patches, masked))
            painted = painted * deviation + mean
        whole = scatter_tokens(patches, masked, painted.to(patches.dtype))
        hidden = torch.zeros(patches.shape[:2], dtype=torch.bool, device=x.device).scatter_(1, masked, True)
        return painted_over(x, vit.patch_size, hidden, whole)


class Decoder(NarrowTransformer):
    """A narrow transformer over all patches, with a learned mask token for those that were not encoded (Sec. 3)."""

    def __init__(self, vit: ViT, width: int, layers: int, heads: int) -> None:
        super().__init__(vit, width, layers, heads, vit.in_channels * vit.patch_size**2, key="method.decoder_")
        self.class_tokens = int(vit.class_token is not None)

    def forward(self, h: Tensor, visible: Tensor) -> Tensor:
        """Output of `ViT.encode` for the patches at `visible` (B, V) -> pixels (B, N, P) of all patches."""
        first, seen = self.enter(h).tensor_split([self.class_tokens], dim=1)
        empty = self.token.to(seen.dtype).expand(len(h), len(self.position), -1)
        tokens = scatter_tokens(empty, visible, seen) + self.position
        tokens = self.blocks(torch.cat([first.to(tokens.dtype), tokens], dim=1))
        return self.leave(tokens[:, self.class_tokens :])
