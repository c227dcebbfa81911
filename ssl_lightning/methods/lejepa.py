"""LeJEPA: Provable and Scalable Self-Supervised Learning without the Heuristics.

Balestriero and LeCun, 2025. https://arxiv.org/abs/2511.08544
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.losses.gaussian import sigreg
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import mlp
from ssl_lightning.modules.multi_crop import count_global, encode_by_size
from ssl_lightning.randomness import shared_generator
from ssl_lightning.ranges import Fraction, PositiveInt


class LeJEPA(Method):
    """Views must be near their center, and their embeddings distributed like an isotropic Gaussian.

    No teacher, no stopped gradient, no predictor.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        hidden_dim: width of the projector's two hidden layers.
        out_dim: K, width of the projection.
        weight: lambda, the weight of SIGReg; that of the distance is 1 - lambda.
        directions: M, number of random directions drawn at each step.
    """

    hidden_dim: PositiveInt = 2048
    out_dim: PositiveInt = 64
    weight: Fraction = 0.05
    directions: PositiveInt = 1024

    def __post_init__(self) -> None:
        self.projector = mlp(self.backbone.out_dim, self.hidden_dim, self.hidden_dim, self.out_dim)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Algorithm 2: `prediction`, the squared distance of each view to the center of the global views, and
        `sigreg`.
        """
        h = encode_by_size(self, batch["views"])
        z = torch.stack(self.projector(torch.cat(h)).chunk(len(h)))  # (views, B, K)
        prediction = (z - z[: count_global(batch["views"])].mean(dim=0)).square().mean()
        shape, shared = (z.shape[2], self.directions), shared_generator(z.device)
        drawn = F.normalize(torch.randn(shape, generator=shared, device=z.device, dtype=z.dtype), dim=0)
        gaussian = torch.stack([sigreg(part, drawn) for part in z]).mean()
        loss = (1 - self.weight) * prediction + self.weight * gaussian
        return {"loss": loss, "embedding": h[0].detach(), "prediction": prediction, "sigreg": gaussian}
