"""Jigsaw: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles.

Noroozi and Favaro, 2016. https://arxiv.org/abs/1603.09246
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lightning.losses.classification import cross_entropy
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import mlp
from ssl_lightning.modules.patches import mosaic
from ssl_lightning.ranges import PositiveInt


class Jigsaw(Method):
    """Predicts which of K permutations shuffled the nine tiles of an image.

    The network is context-free (Sec. 3.1): the backbone embeds each tile separately, and only the head combines them.
    Each tile is standardized per channel (Sec. 4.2), and so is a whole image in `forward`. Deviation: the head has
    batch normalization, the paper's has dropout.

    Args:
        backbone: network from (B, C, h, w) to (B, D), with `out_dim` D, for tiles and whole images.
        permutations: (K, 9), the same as in the transform.
        hidden_dim: width of the head's hidden layer.
    """

    requires = ("inputs", "permutation")
    backbone_kind = "feature map"

    permutations: Tensor
    hidden_dim: PositiveInt = 1024

    def __post_init__(self) -> None:
        K, places = self.permutations.shape
        self.head = mlp(places * self.backbone.out_dim, self.hidden_dim, K)
        self.orders = nn.Buffer(self.permutations)

    def forward(self, x: Tensor) -> Tensor:
        # eps is small compared with the variance of an image (about 1), but does not amplify the noise of an empty tile
        return self.backbone(F.instance_norm(x, eps=0.01))

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Cross-entropy of the permutation; `embedding` is the mean over the tiles."""
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
        belongs = self.orders[self._solve(tiles)[0].argmax(dim=1)]  # (B, 9)
        sample = torch.arange(len(tiles), device=tiles.device)[:, None]
        return {"shuffled": mosaic(tiles), "put in order": mosaic(tiles[sample, belongs.argsort(dim=1)])}
