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


class Autoencoder(Method):
    """Encodes an image to a narrow code and reconstructs it from this code alone.

    The input is the first view and the target the last. With one view they are equal. A transform with a corrupted and
    a clean view makes this the denoising autoencoder (Vincent et al., Sec. 2.3).

    Deviations: the loss is the mean squared error of normalized pixels, with linear outputs because these are
    unbounded; both papers use cross-entropy and sigmoids for pixels in [0, 1]. So the mean pixel has the error 1 on any
    data, and all color channels have equal weight. All layers train at once from random weights, without the layer-wise
    pretraining of the first paper, which ReLU and Adam have made unnecessary.

    Args:
        backbone: network from (B, C, H, W) to the code (B, D), with `out_dim` D.
        decoder: called with D, returns a network from (B, D) to (B, C, H, W).
        std: (C,), by which the transform divided pixels; `pixel_error` is the error of pixels in [0, 1].
    """

    figures = {"val/pixel_error": ("squared error of pixels", "{:.5f}")}

    decoder: Callable[..., Any]
    std: Sequence[float]

    def __post_init__(self) -> None:
        self.decoder = self.decoder(self.backbone.out_dim)
        self.variance = nn.Buffer(torch.tensor(list(self.std)).square(), persistent=False)

    def reconstruct(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), both normalized."""
        return self.decoder(self(x))

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Mean squared error of the last view, reconstructed from the code of the first."""
        h = self(batch["views"][0])
        errors = channel_errors(self.decoder(h), batch["views"][-1])
        pixel_error = (errors.detach() * self.variance).mean()
        return {"loss": errors.mean(), "embedding": h.detach(), "pixel_error": pixel_error}

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Input, reconstruction and, for a denoising autoencoder, the original: (B, C, H, W) each."""
        x, *others = batch["views"]
        return {"input": x, "reconstruction": self.reconstruct(x), **({"original": others[-1]} if others else {})}
