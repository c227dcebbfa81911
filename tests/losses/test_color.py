import math

import pytest
import torch

from ssl_lightning.losses.color import rarity_weights, soft_cross_entropy


def test_equals_a_naive_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    M, Q = 6, 8
    logits = torch.randn(M, Q, generator=generator, dtype=torch.float64)
    bins = torch.stack([torch.randperm(Q, generator=generator)[:5] for _ in range(M)])
    shares = torch.rand(M, 5, generator=generator, dtype=torch.float64).softmax(dim=1)
    weights = torch.rand(M, generator=generator, dtype=torch.float64)
    total = 0.0
    for m in range(M):
        normalizer = math.log(sum(math.exp(x) for x in logits[m].tolist()))
        answer = [0.0] * Q
        for q, share in zip(bins[m].tolist(), shares[m].tolist(), strict=True):
            answer[q] = share
        cross_entropy = -sum(answer[q] * (float(logits[m, q]) - normalizer) for q in range(Q))
        total += float(weights[m]) * cross_entropy
    assert soft_cross_entropy(logits, bins, shares, weights).item() == pytest.approx(total / M, rel=1e-12)


def test_indifference_costs_the_logarithm() -> None:
    bins, shares = torch.arange(5).expand(7, 5), torch.full((7, 5), 0.2)
    loss = soft_cross_entropy(torch.zeros(7, 313, dtype=torch.bfloat16), bins, shares, torch.ones(7))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(313), rel=1e-6)


def test_rarity_weights() -> None:
    prior = torch.tensor([0.7, 0.2, 0.1, 0.0], dtype=torch.float64)
    weights = rarity_weights(prior, 0.5)
    naive = [1 / (0.5 * p + 0.5 / 4) for p in prior.tolist()]
    mean = sum(p * w for p, w in zip(prior.tolist(), naive, strict=True))
    assert weights.tolist() == pytest.approx([w / mean for w in naive])
    assert (weights.diff() > 0).all(), "the rarer, the heavier"
    assert (prior * weights).sum().item() == pytest.approx(1)


@pytest.mark.parametrize(("prior", "uniform"), [([0.25] * 4, 0.5), ([0.7, 0.1, 0.1, 0.1], 1.0)])
def test_all_count_alike_where_all_are_common_or_the_prior_does_not_matter(prior: list[float], uniform: float) -> None:
    torch.testing.assert_close(rarity_weights(torch.tensor(prior), uniform), torch.ones(4))
