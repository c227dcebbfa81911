import math

import pytest
import torch
from transformers import Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2GumbelVectorQuantizer

from ssl_lightning.modules.quantizer import ProductQuantizer, gumbel, perplexity


@pytest.mark.parametrize("training", [True, False])
def test_it_is_transformers_quantizer(training: bool) -> None:
    """Values, gradients and perplexity, with the same noise."""
    G, V, D, C, B, T = 2, 6, 8, 5, 3, 7
    theirs = Wav2Vec2GumbelVectorQuantizer(
        Wav2Vec2Config(num_codevector_groups=G, num_codevectors_per_group=V, codevector_dim=D, conv_dim=[C] * 7)
    ).train(training)
    theirs.temperature = 0.7
    ours = ProductQuantizer(C, G, V, D)
    torch.nn.init.normal_(theirs.codevectors)
    ours.scores.load_state_dict(theirs.weight_proj.state_dict())
    ours.codebook.data.copy_(theirs.codevectors.view(G, V, D // G))
    x = torch.randn(B, T, C)
    masked = torch.rand(B, T) < 0.5
    torch.manual_seed(1)
    expected, used = theirs(x, masked)
    torch.manual_seed(1)
    noise = -torch.empty(B * T * G, V).exponential_().log().view(B, T, G * V)
    q, codes, probabilities = ours(x, noise if training else None, 0.7)
    torch.testing.assert_close(q, expected)
    if not training:
        probabilities = torch.nn.functional.one_hot(codes, V).float()
    torch.testing.assert_close(perplexity(probabilities[masked].mean(dim=0)), used)
    if training:
        direction = torch.randn_like(q)
        (q * direction).sum().backward()
        (expected * direction).sum().backward()
        torch.testing.assert_close(ours.scores.weight.grad, theirs.weight_proj.weight.grad, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours.codebook.grad.flatten(), theirs.codevectors.grad.flatten())


def test_perplexity_in_closed_form() -> None:
    assert float(perplexity(torch.full((2, 10), 0.1))) == pytest.approx(20)
    assert float(perplexity(torch.eye(10)[:2])) == pytest.approx(2)


def test_gumbel_noise() -> None:
    noise = gumbel(torch.rand(200_000, generator=torch.Generator().manual_seed(0)))
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.01)
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, abs=0.03)
