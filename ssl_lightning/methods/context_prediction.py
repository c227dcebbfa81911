"""Context prediction: Unsupervised Visual Representation Learning by Context Prediction.

Doersch, Gupta and Efros, 2015. https://arxiv.org/abs/1505.05192
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_lightning.losses.classification import cross_entropy
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import mlp
from ssl_lightning.modules.patches import mosaic
from ssl_lightning.ranges import PositiveInt
from ssl_lightning.transforms.pretext.context_prediction import MIDDLE, PLACES


class ContextPrediction(Method):
    """Predicts on which of the eight sides of a patch another patch of the same image lies.

    The backbone embeds both patches separately, and the head classifies the concatenation (late fusion, Fig. 3).
    Deviation: the head has one hidden layer, the paper's has two.

    Args:
        backbone: network from (B, C, h, w) to (B, D), with `out_dim` D, for patches and whole images.
        hidden_dim: width of the head's hidden layer.
    """

    requires = ("inputs", "side")
    backbone_kind = "feature map"

    hidden_dim: PositiveInt = 1024

    def __post_init__(self) -> None:
        self.head = mlp(2 * self.backbone.out_dim, self.hidden_dim, PLACES)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Cross-entropy of the side; `embedding` is that of the first patch."""
        logits, h = self._place(batch["inputs"])
        loss, accuracy = cross_entropy(logits, batch["side"])
        return {"loss": loss, "accuracy": accuracy, "embedding": h[:, 0].detach()}

    def _place(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, C, p, p) -> logits (B, 8), features (B, 2, D)."""
        h = self(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        return self.head(h.flatten(1)), h

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The first patch in the center, with the second at its true and at its predicted place."""
        patches = batch["inputs"]
        guess = self._place(patches)[0].argmax(dim=1)
        return {"as it was": _laid_out(patches, batch["side"]), "as predicted": _laid_out(patches, guess)}


def _laid_out(patches: Tensor, side: Tensor) -> Tensor:
    """(B, 2, C, p, p) and sides (B,) in 0..7 -> images (B, C, 3p + 2, 3p + 2)."""
    first, second = patches.unbind(1)
    tiles = patches.new_zeros(len(patches), 9, *first.shape[1:])
    tiles[:, MIDDLE] = first
    tiles[torch.arange(len(patches), device=side.device), side + (side >= MIDDLE)] = second
    return mosaic(tiles)
