import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from ssl_lightning.evaluation.bootstrap import interval


def answers(n: int, right: int) -> torch.Tensor:
    return torch.arange(n) < right


def test_equals_the_bootstrap_by_resampling() -> None:
    correct = answers(200, 150)
    rows = torch.randint(200, (20_000, 200), generator=torch.Generator().manual_seed(1))
    means = correct.double()[rows].mean(1)
    low, high = interval(correct, level=0.9, samples=20_000)
    assert low == pytest.approx(means.quantile(0.05).item(), abs=0.006)
    assert high == pytest.approx(means.quantile(0.95).item(), abs=0.006)


def test_width_is_that_of_the_normal_approximation() -> None:
    low, high = interval(answers(10_000, 9000), samples=10_000)
    assert (high - low) / 2 == pytest.approx(1.96 * (0.9 * 0.1 / 10_000) ** 0.5, rel=0.05)


def test_certain_answers_have_no_width_and_seeds_repeat() -> None:
    assert interval(answers(50, 50)) == (1.0, 1.0)
    assert interval(answers(50, 0)) == (0.0, 0.0)
    state = torch.random.get_rng_state()
    assert interval(answers(50, 20), seed=3) == interval(answers(50, 20), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_copies_of_one_original_count_once() -> None:
    originals = answers(400, 300)
    once = interval(originals, samples=5000)
    order = torch.randperm(3200, generator=torch.Generator().manual_seed(0))
    copies, groups = originals.repeat(8)[order], torch.arange(400).repeat(8)[order]
    assert interval(copies, samples=5000, groups=groups * 7 - 100) == once
    naive = interval(copies, samples=5000)
    assert (once[1] - once[0]) / (naive[1] - naive[0]) == pytest.approx(8**0.5, rel=0.05)


def test_groups_of_one_are_no_groups() -> None:
    assert interval(answers(100, 70), groups=torch.arange(100)) == interval(answers(100, 70))
    assert interval(answers(100, 70), groups=torch.zeros(100, dtype=torch.long)) == (0.7, 0.7)


def test_groups_of_all_sizes_equal_resampling_them() -> None:
    generator = torch.Generator().manual_seed(1)
    groups = torch.randint(60, (400,), generator=generator) * torch.randint(1, 3, (400,), generator=generator) // 2
    ease = torch.rand(60, generator=generator)
    correct = torch.rand(400, generator=generator) < ease[groups]
    members = [correct[groups == number].double() for number in groups.unique()]
    hits, sizes = torch.stack([one.sum() for one in members]), torch.tensor([float(len(one)) for one in members])
    draws = torch.randint(len(members), (20_000, len(members)), generator=generator)
    means = hits[draws].sum(1) / sizes[draws].sum(1)
    low, high = interval(correct, level=0.9, samples=20_000, groups=groups)
    assert low == pytest.approx(means.quantile(0.05).item(), abs=0.005)
    assert high == pytest.approx(means.quantile(0.95).item(), abs=0.005)


def test_real_numbers_as_scipy_resamples_them() -> None:
    values = torch.rand(400, generator=torch.Generator().manual_seed(0)) ** 3
    theirs = bootstrap((values.numpy(),), np.mean, method="percentile", n_resamples=2000, rng=0).confidence_interval
    assert interval(values) == pytest.approx((theirs.low, theirs.high), abs=0.004)
