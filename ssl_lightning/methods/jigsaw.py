"""Jigsaw: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles.

Noroozi and Favaro, 2016. https://arxiv.org/abs/1603.09246
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lightning.losses.classification import cross_entropy
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.image import embedding_dim
from ssl_lightning.modules.heads import mlp
from ssl_lightning.modules.patches import mosaic


class Jigsaw(Method):
    """Tells in which of K orders the nine tiles of an image lie, from features of each tile alone.

    The network is context-free (Sec. 3.1): the backbone sees tile by tile, and only the head sees them together. Each
    tile is standardized per channel (Sec. 4.2), and so is the whole image that `forward` embeds. The head has batch
    normalization, where the paper's (of 2016) has dropout.

    Args:
        backbone: network from (B, C, h, w) to (B, D), with `out_dim` D, that takes tiles and whole images.
        permutations: (K, 9), those of the transform.
        hidden_dim: width of the head's hidden layer.
    """

    requires = ("inputs", "permutation")
    backbone_kind = "feature map"

    permutations: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        permutations: Tensor,
        hidden_dim: int = 1024,
    ) -> None:
        super().__init__(optimizer, schedule)
        self.backbone = backbone
        K, places = permutations.shape
        self.head = mlp(places * embedding_dim(backbone), hidden_dim, K)
        self.register_buffer("permutations", permutations)

    def forward(self, x: Tensor) -> Tensor:
        # 0.01 is little beside the spread of an image (about 1), and keeps the noise of an empty tile small
        return self.backbone(F.instance_norm(x, eps=0.01))

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The embedding is the mean over the tiles."""
        logits, h = self._solve(batch["inputs"])
        loss, accuracy = cross_entropy(logits, batch["permutation"])
        return {"loss": loss, "accuracy": accuracy, "embedding": h.mean(dim=1).detach()}

    def _solve(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 9, C, t, t) -> logits (B, K), features of the tiles (B, 9, D)."""
        h = self(tiles.flatten(0, 1)).unflatten(0, tiles.shape[:2])
        return self.head(h.flatten(1)), h

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        tiles = batch["inputs"]
        belongs = self.permutations[self._solve(tiles)[0].argmax(dim=1)]  # (B, 9)
        sample = torch.arange(len(tiles), device=tiles.device)[:, None]
        return {"shuffled": mosaic(tiles), "put in order": mosaic(tiles[sample, belongs.argsort(dim=1)])}
