import pytest
import torch

from ssl_lightning.errors import InputError
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


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(InputError, match="N >= 1"):
        interval(answers(0, 0))
    with pytest.raises(InputError, match=r"level in \(0, 1\)"):
        interval(answers(5, 2), level=95)
