"""VAE: Auto-Encoding Variational Bayes.

Kingma and Welling, 2013. https://arxiv.org/abs/1312.6114
(beta-VAE, Higgins et al. 2017, https://openreview.net/forum?id=Sy2fzU9gl: `beta` other than 1)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.distributed import mean_over_ranks
from ssl_lightning.losses.pixels import channel_errors
from ssl_lightning.losses.variational import gaussian_nll, kl_to_standard_normal
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.masking import draw_for_all_ranks
from ssl_lightning.ranges import NonNegativeFloat, PositiveInt


class VAE(Method):
    """An encoder predicts a Gaussian over codes, and a decoder reconstructs the image from a sample of it.

    The decoder's pixels are Gaussian (Appendix C.2); the Bernoulli of C.1 only suits black and white pixels. Their
    common variance is the maximum-likelihood one of the batch, the mean squared error (optimal sigma-VAE, Rybkin et al.
    2021, https://arxiv.org/abs/2006.13202). A variance set by hand would act like another beta. Deviation: validation
    has its own variance, too, not a running mean of the training's, which would be one more state to keep; `val/loss`
    is a little lower for it.

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        decoder: called with K, returns a network from (B, K) to (B, C, H, W).
        std: (C,), by which the transform divided pixels; `pixel_error` is the error of pixels in [0, 1].
        latent_dim: K, width of the code z.
        beta: weight of the Kullback-Leibler divergence; 1 is the evidence lower bound.
    """

    figures = {"val/pixel_error": ("squared error of pixels", "{:.5f}")}

    decoder: Callable[..., Any]
    std: Sequence[float]
    latent_dim: PositiveInt = 32
    beta: NonNegativeFloat = 1.0

    def __post_init__(self) -> None:
        self.posterior = nn.Linear(self.backbone.out_dim, 2 * self.latent_dim)
        self.decoder = self.decoder(self.latent_dim)
        self.variance = nn.Buffer(torch.tensor(list(self.std)).square(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the posterior, (B, K)."""
        return self._encode(x)[0]

    def reconstruct(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), both normalized, through the posterior mean."""
        return self.decoder(self(x))

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The negative of Eq. 7 with one sample, in nats per pixel value; `kl` is in nats per image."""
        x = batch["views"][0]
        mean, log_variance = self._encode(x)
        noise = draw_for_all_ranks(torch.randn, *mean.shape, device=x.device).to(mean.dtype)
        z = mean + (0.5 * log_variance).exp() * noise  # reparameterized, Sec. 2.4
        errors = channel_errors(self.decoder(z), x)
        error = mean_over_ranks(errors.mean())
        kl = kl_to_standard_normal(mean, log_variance).mean()
        loss = gaussian_nll(error, variance=error) + self.beta * kl / x[0].numel()
        pixel_error = (errors.detach() * self.variance).mean()
        return {"loss": loss, "embedding": mean.detach(), "kl": kl.detach(), "pixel_error": pixel_error}

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Input, reconstruction, and as many decoded samples from the prior."""
        x = batch["views"][0]
        z = torch.randn(len(x), self.latent_dim, generator=torch.Generator().manual_seed(0)).to(x)
        return {"input": x, "reconstruction": self.reconstruct(x), "samples": self.decoder(z)}

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(self.backbone(x)).chunk(2, dim=1)
        return mean, log_variance
