"""Autoencoder: Reducing the Dimensionality of Data with Neural Networks.

Hinton and Salakhutdinov, 2006. https://doi.org/10.1126/science.1127647
(Denoising: Extracting and Composing Robust Features with Denoising Autoencoders, Vincent, Larochelle, Bengio and
Manzagol, 2008. https://doi.org/10.1145/1390156.1390294)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.losses.pixels import channel_errors
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.image import embedding_dim


class Autoencoder(Method):
    """Squeezes an image through a narrow code and paints it again from the code alone.

    The input is the first view and the target the last: with one view they are the same; a transform that gives a
    corrupted and the clean view makes it the denoising autoencoder (Vincent et al., Sec. 2.3).

    The loss is the mean squared error of normalized pixels, so that 1 is the error of the mean pixel on any data and
    the colors count alike; the painted pixels are linear, since normalized ones have no bounds. (Both papers take
    cross-entropy and sigmoid units, for pixels in [0, 1].) All layers learn at once from random weights, where the
    first paper trains them one by one beforehand, which ReLU and Adam have made needless.

    Args:
        backbone: network from (B, C, H, W) to the code (B, D), with `out_dim` D.
        decoder: called with D, returns the network from (B, D) to (B, C, H, W).
        std: (C,) that pixels were divided by; `pixel_error` is the error of pixels in [0, 1].
    """

    figures = {"val/pixel_error": ("squared error of pixels", "{:.5f}")}
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        decoder: Callable[[int], nn.Module],
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        std: Sequence[float],
    ) -> None:
        super().__init__(optimizer, schedule)
        self.backbone = backbone
        self.decoder = decoder(embedding_dim(backbone))
        self.register_buffer("std", torch.tensor(list(std)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def reconstruct(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), both normalized."""
        return self.decoder(self(x))

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Mean squared error of the last view, painted from the code of the first."""
        h = self(batch["views"][0])
        errors = channel_errors(self.decoder(h), batch["views"][-1])
        pixel_error = (errors.detach() * self.std.square()).mean()
        return {"loss": errors.mean(), "embedding": h.detach(), "pixel_error": pixel_error}

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """What went in, what came out and, where it is another image, what was wanted: (B, C, H, W) each."""
        x, *others = batch["views"]
        return {"input": x, "reconstruction": self.reconstruct(x), **({"original": others[-1]} if others else {})}
