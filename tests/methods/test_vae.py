import math

import pytest
import torch
from methods.recipe import make_batch, make_method, seeded_loss
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ssl_lightning.methods.vae import VAE
from ssl_lightning.modules.masking import draw_for_all_ranks
from ssl_lightning.randomness import seed_generators


def make(**changes) -> VAE:
    method = make_method("vae", **changes)
    assert isinstance(method, VAE)
    return method


def draws(method: VAE, x: Tensor, seed: int) -> tuple[Normal, Tensor]:
    mean, log_variance = method.posterior(method.backbone(x)).chunk(2, dim=1)
    seed_generators(seed, seed)
    return Normal(mean, (0.5 * log_variance).exp()), draw_for_all_ranks(torch.randn, len(x), method.latent_dim)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_loss_is_the_negative_bound_of_torchs_distributions(beta: float) -> None:
    method, batch = make(beta=beta).eval(), make_batch("vae")
    x = batch["views"][0]
    posterior, noise = draws(method, x, seed=3)
    painted = method.decoder(posterior.mean + posterior.stddev * noise)
    spread = (painted - x).square().mean().sqrt()  # of all pixels, under which the batch is likeliest
    likelihood = Normal(painted, spread).log_prob(x).flatten(1).sum(dim=1)
    divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=1)
    expected = -(likelihood - beta * divergence).mean() / x[0].numel()
    found = seeded_loss(method, batch, seed=3)
    torch.testing.assert_close(found["loss"], expected)
    torch.testing.assert_close(found["kl"], divergence.mean())


def test_no_other_variance_is_likelier() -> None:
    x, painted = torch.randn(2, 4, 1, 5, 5)
    best = (painted - x).square().mean().sqrt()
    likelihoods = [Normal(painted, best * factor).log_prob(x).sum() for factor in (0.9, 1.0, 1.1)]
    assert likelihoods[1] > max(likelihoods[0], likelihoods[2])


def test_the_gradient_passes_the_draw() -> None:
    """Reparameterized: dz/dmean = 1 and dz/dlog_variance = noise * std / 2."""
    method, x = make().eval(), make_batch("vae")["views"][0]
    posterior, noise = draws(method, x, seed=0)
    mean, log_variance = (
        posterior.mean.detach().requires_grad_(),
        posterior.stddev.detach().log().mul(2).requires_grad_(),
    )
    z = mean + (0.5 * log_variance).exp() * noise
    z.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones_like(mean))
    torch.testing.assert_close(log_variance.grad, noise * posterior.stddev.detach() / 2)
    result = seeded_loss(method, {"views": [x]})
    result["loss"].backward()
    half = method.latent_dim
    assert method.posterior.weight.grad[:half].any()
    assert method.posterior.weight.grad[half:].any()


def test_the_embedding_is_the_posterior_mean_without_noise() -> None:
    method, batch = make().eval(), make_batch("vae")
    x = batch["views"][0]
    first, second = (seeded_loss(method, batch, seed)["embedding"] for seed in (0, 1))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, draws(method, x, 0)[0].mean)
    assert torch.equal(method(x), method(x))
    torch.testing.assert_close(method.reconstruct(x), method.decoder(first))


def test_what_it_shows() -> None:
    method, batch = make().eval(), make_batch("vae")
    state = torch.get_rng_state()
    shown, again = method.show(batch), method.show(batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(shown) == ["input", "reconstruction", "samples"]
    assert all(column.shape == (16, 1, 28, 28) and not column.requires_grad for column in shown.values())
    assert torch.equal(shown["samples"], again["samples"])


def test_without_information_the_divergence_is_nothing() -> None:
    method, batch = make(), make_batch("vae")
    torch.nn.init.zeros_(method.posterior.weight)
    torch.nn.init.zeros_(method.posterior.bias)
    assert method.loss(batch)["kl"].item() == 0
    method.posterior.bias.data[: method.latent_dim] = 2.0
    assert method.loss(batch)["kl"].item() == pytest.approx(2 * method.latent_dim)
    method.posterior.bias.data[method.latent_dim :] = math.log(4)
    expected = method.latent_dim * (4 + 4 - math.log(4) - 1) / 2
    assert method.loss(batch)["kl"].item() == pytest.approx(expected, rel=1e-6)
