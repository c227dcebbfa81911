"""RotNet: Unsupervised Representation Learning by Predicting Image Rotations.

Gidaris, Singh and Komodakis, 2018. https://arxiv.org/abs/1803.07728
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_lightning.losses.classification import cross_entropy
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import mlp
from ssl_lightning.ranges import PositiveInt
from ssl_lightning.transforms.pretext.rotation import QUARTERS


class RotNet(Method):
    """Predicts by which multiple of 90 degrees an image was rotated, which needs to know what is upright.

    Deviation: the head has a hidden layer, the paper's is linear. The last features before the prediction transfer
    worse (the paper uses an earlier block, Table 1), and the hidden layer separates them from the embedding.

    Args:
        backbone: network from (B, C, S, S) to (B, D), with `out_dim` D.
        hidden_dim: width of the head's hidden layer.
    """

    requires = ("inputs", "quarters")

    hidden_dim: PositiveInt = 512

    def __post_init__(self) -> None:
        self.head = mlp(self.backbone.out_dim, self.hidden_dim, QUARTERS)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 2 and 3; `embedding` is that of the upright images."""
        h = self(batch["inputs"])
        loss, accuracy = cross_entropy(self.head(h), batch["quarters"])
        return {"loss": loss, "accuracy": accuracy, "embedding": h[::QUARTERS].detach()}

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Each image in one of the rotations, and rotated back by the predicted angle."""
        images = batch["inputs"].unflatten(0, (-1, QUARTERS))
        number = torch.arange(len(images), device=images.device)
        rotated = images[number, number % QUARTERS]
        guess = self.head(self(rotated)).argmax(dim=1)
        every = torch.stack([rotated.rot90(-quarters, (2, 3)) for quarters in range(QUARTERS)], dim=1)
        return {"rotated": rotated, "turned back": every[number, guess]}
