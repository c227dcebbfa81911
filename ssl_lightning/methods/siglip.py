"""SigLIP: Sigmoid Loss for Language Image Pre-Training.

Zhai, Mustafa, Kolesnikov and Beyer, 2023. https://arxiv.org/abs/2303.15343
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ssl_lightning.losses.image_text import same_pairs, siglip_loss
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.two_towers import TwoTowers
from ssl_lightning.ranges import PositiveFloat


class SigLIP(TwoTowers, Method):
    """Each pair of an image and a caption of the batch is told to belong together, or not, whatever the other pairs.

    Args, beside those of `TwoTowers`:
        scale, bias: of the logits at the start, of which both are learned (Sec. 3.2).
    """

    scale: PositiveFloat = 10.0
    bias: float = -10.0

    def __post_init__(self) -> None:
        self.join(self.scale, self.bias)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Algorithm 1."""
        h, image, text = self.encoded(batch)
        same = same_pairs(batch["tokens"], batch["image"]) if self.dedupe else None
        scale, bias = self.space.scale, self.space.bias
        loss = siglip_loss(image, text, scale, bias, same)
        scalars = {"scale": scale.detach().squeeze(), "bias": bias.detach().squeeze()}
        return {"loss": loss, "embedding": h.detach(), **scalars}
