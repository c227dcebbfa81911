"""Colorization: Colorful Image Colorization.

Zhang, Isola and Efros, 2016. https://arxiv.org/abs/1603.08511
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from ssl_lightning.color import lab_to_rgb, lightness, rgb_to_lab, scaled_lightness
from ssl_lightning.distributed import mean_over_ranks
from ssl_lightning.losses.color import rarity_weights, soft_cross_entropy
from ssl_lightning.losses.precision import at_least_float32
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.color_bins import ColorBins
from ssl_lightning.modules.feature_map import FeatureMapBackbone
from ssl_lightning.ranges import Fraction, PositiveFloat, PositiveInt

GRAY = 5
"""An image whose |a| and |b| are at most this has no colors to learn (the authors' NonGrayMask)."""


class Colorization(Method):
    """Predicts the colors of a gray image: at every place a distribution over quantized ab colors.

    Places form a map with twice the resolution of the backbone's (Fig. 2: 56 x 56 from 28 x 28).

    Deviations: the target color of a place is the mean over its pixels, where the authors take one of them. The prior
    of colors is the mean over the training batches so far on all devices, stored with the weights, where the paper
    counts it on the training set in advance. Soft targets with the paper's sigma of 5 smooth it like the paper's prior.

    Args:
        backbone: network from (B, C, S, S) to (B, D); `FeatureMapBackbone` must support it.
        channels: C of the backbone's input; all channels are the lightness.
        mean: per channel, by which the images of `forward` are normalized.
        std: likewise.
        hidden_dim: channels of the decoder.
        prior_mixing: weight of the uniform distribution mixed into the prior, lambda of Eq. 4.
        temperature: T of the annealed mean, Eq. 5.
    """

    requires = ("inputs", "ab")
    backbone_kind = "feature map"

    channels: PositiveInt
    mean: Sequence[float]
    std: Sequence[float]
    hidden_dim: PositiveInt = 128
    prior_mixing: Fraction = 0.5
    temperature: PositiveFloat = 0.38

    def __post_init__(self) -> None:
        self.bins = ColorBins()
        self.backbone = FeatureMapBackbone(self.backbone)
        width = self.hidden_dim
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(self.backbone.map_dim, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            Conv2dNormActivation(width, width, 3),
            nn.Conv2d(width, len(self.bins), 1),
        )
        self.prior: Tensor = nn.Buffer(torch.full((len(self.bins),), 1 / len(self.bins)))
        self.batches: Tensor = nn.Buffer(torch.zeros((), dtype=torch.int64))
        self.center = nn.Buffer(torch.tensor(list(self.mean)).view(3, 1, 1), persistent=False)
        self.scale = nn.Buffer(torch.tensor(list(self.std)).view(3, 1, 1), persistent=False)

    @property
    def encoder(self) -> Any:
        return self.backbone.backbone

    def forward(self, x: Tensor) -> Tensor:
        """Embeds the lightness of normalized RGB images."""
        return self._encode(scaled_lightness(rgb_to_lab(x * self.scale + self.center)))[0]

    def _encode(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """Lightness (B, 1, S, S) -> h (B, D), and the map (B, map_dim, h, w)."""
        return self.backbone(gray.expand(-1, self.channels, -1, -1))

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 2, to which gray images add nothing, as in the authors' code.

        `accuracy` is that of predicting the nearest bin.
        """
        h, features = self._encode(batch["inputs"])
        logits = at_least_float32(self.decoder(features)).movedim(1, 3)  # (B, h, w, Q)
        ab = F.adaptive_avg_pool2d(at_least_float32(batch["ab"]), (logits.shape[1], logits.shape[2]))
        bins, shares = self.bins.encode(ab.movedim(1, 3).flatten(0, 2))
        logits = logits.flatten(0, 2)
        if self.training:
            self._count(bins, shares)
        weights = rarity_weights(self.prior, self.prior_mixing)[bins[:, 0]].unflatten(0, (len(h), -1))
        colored = (batch["ab"].abs() > GRAY).flatten(1).any(dim=1, keepdim=True)
        loss = soft_cross_entropy(logits, bins, shares, (weights * colored).flatten())
        accuracy = (logits.detach().argmax(dim=1) == bins[:, 0]).to(torch.float32).mean()
        return {"loss": loss, "accuracy": accuracy, "embedding": h.detach()}

    @torch.no_grad()
    def _count(self, bins: Tensor, shares: Tensor) -> None:
        """Updates the prior, the running mean over batches."""
        found = torch.zeros_like(self.prior).index_add_(0, bins.flatten(), shares.flatten().to(self.prior))
        self.batches += 1
        self.prior += (mean_over_ranks(found / len(bins)) - self.prior) / self.batches

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The gray image, the predicted colors (upsampled) with the true lightness, and the original."""
        gray, ab = batch["inputs"], batch["ab"]
        logits = self.decoder(self._encode(gray)[1])
        guess = F.interpolate(self.bins.decode(logits, self.temperature), size=ab.shape[2:], mode="bilinear")
        columns = {"gray": torch.zeros_like(ab), "colorized": guess, "original": ab}
        return {name: (self._rgb(gray, colors) - self.center) / self.scale for name, colors in columns.items()}

    def _rgb(self, gray: Tensor, ab: Tensor) -> Tensor:
        return lab_to_rgb(torch.cat([lightness(gray), ab], dim=1))
