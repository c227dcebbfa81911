"""SigLIP: Sigmoid Loss for Language Image Pre-Training.

Zhai, Mustafa, Kolesnikov and Beyer, 2023. https://arxiv.org/abs/2303.15343
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ssl_lightning.losses.image_text import same_pairs, siglip_loss
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.two_towers import TwoTowers
from ssl_lightning.ranges import AtLeastTwo, PositiveFloat, PositiveInt


class SigLIP(TwoTowers, Method):
    """Each pair of an image and a caption of the batch is told to belong together, or not, whatever the other pairs.

    Args:
        backbone: network from images (B, C, H, W) to (B, D), with `out_dim` D.
        text_backbone: language model from tokens (B, N) to (B, D'); its head is not used.
        out_dim: K, width of the space in which images and texts are compared.
        scale, bias: of the logits at the start, of which both are learned (Sec. 3.2).
        chunk_size: number of images, and of texts, per device that are encoded at once; None: all.
        dedupe: whether equal captions or images of a batch do not count as pairs that do not belong together.
    """

    def __init__(
        self,
        backbone: nn.Module,
        text_backbone: nn.Module,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        out_dim: PositiveInt = 512,
        scale: PositiveFloat = 10.0,
        bias: float = -10.0,
        chunk_size: AtLeastTwo | None = None,
        dedupe: bool = False,
    ) -> None:
        super().__init__(optimizer, schedule)
        self.join(backbone, text_backbone, out_dim, scale, bias)
        self.chunk_size, self.dedupe = chunk_size, dedupe

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Algorithm 1."""
        h, image, text = self.encoded(batch)
        same = same_pairs(batch["tokens"], batch["image"]) if self.dedupe else None
        scale, bias = self.space.scale, self.space.bias
        loss = siglip_loss(image, text, scale, bias, same)
        scalars = {"scale": scale.detach().squeeze(), "bias": bias.detach().squeeze()}
        return {"loss": loss, "embedding": h.detach(), **scalars}
