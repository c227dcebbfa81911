import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.linear_probe import choose_l2, fit_linear


def blobs(n: int, classes: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy points around `classes` fixed centers in 8 dimensions."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(classes, 8, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (n,), generator=generator)
    return centers[labels] + spread * torch.randn(n, 8, generator=generator), labels


@pytest.mark.parametrize("l2", [1.0, 100.0])
def test_equals_the_optimum_of_scikit_learn_on_digits(l2: float) -> None:
    x, y = load_digits(return_X_y=True)
    scaler = StandardScaler().fit(x[:1000])
    reference = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=5000).fit(scaler.transform(x[:1000]), y[:1000])
    probe = fit_linear(torch.tensor(x[:1000]).float(), torch.tensor(y[:1000]), 10, l2)
    rest = torch.tensor(x[1000:]).float()
    expected = torch.tensor(reference.predict_proba(scaler.transform(x[1000:])))
    torch.testing.assert_close(probe.logits(rest).softmax(1), expected, rtol=0, atol=1e-3)
    assert (probe.predict(rest) == torch.tensor(reference.predict(scaler.transform(x[1000:])))).float().mean() > 0.998


def test_the_gradient_at_the_answer_is_zero() -> None:
    x, y = blobs(200, 4, spread=2.0)
    probe = fit_linear(x, y, 4, l2=3.0)
    standard = (x.double() - probe.mean) / probe.std
    error = probe.logits(x).softmax(1) - torch.nn.functional.one_hot(y, 4)
    assert (error.T @ standard + 3.0 * probe.weight).abs().max() < 1e-7 * 200 * 1.01
    assert error.sum(0).abs().max() < 1e-7 * 200 * 1.01


def test_scale_and_offset_of_features_change_nothing() -> None:
    x, y = blobs(200, 4, spread=2.0)
    scale = torch.logspace(-3, 3, 8)
    plain, moved = fit_linear(x, y, 4, 1.0), fit_linear(x * scale + 5 * scale, y, 4, 1.0)
    torch.testing.assert_close(moved.weight, plain.weight, rtol=0, atol=1e-3)


def test_constant_columns_and_missing_classes() -> None:
    x, y = blobs(100, 3, spread=0.1)
    x[:, 2] = 7.3
    probe = fit_linear(x, 2 * y, 6, 1.0)
    assert (probe.predict(x) == 2 * y).all()
    assert probe.std[2] == 1
    assert probe.weight[:, 2].abs().max() == 0
    assert probe.logits(x)[:, 1::2].isneginf().all()
    assert (fit_linear(x, torch.full_like(y, 4), 6, 1.0).predict(x) == 4).all()


def test_deterministic_and_the_global_random_state_is_left_alone() -> None:
    x, y = blobs(300, 4, spread=1.0)
    state = torch.random.get_rng_state()
    results = [(choose_l2(x, y, (0.1, 10.0), seed=3), fit_linear(x, y, 4, 1.0).weight) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_the_probe_can_be_fitted_where_gradients_are_off() -> None:
    x, y = blobs(100, 3, spread=0.1)
    with torch.no_grad():
        assert (fit_linear(x, y, 3, 1.0).predict(x) == y).all()


def test_the_choice_is_near_the_best_on_fresh_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    signal, y = blobs(300, 4, spread=1.0)
    noisy = torch.cat([signal, torch.randn(300, 200, generator=generator)], dim=1)
    grid = (0.01, 1.0, 100.0, 3e4)
    test = blobs(2000, 4, spread=1.0, seed=1)
    noisy_test = torch.cat([test[0], torch.randn(2000, 200, generator=generator)], dim=1)
    accuracy = {l2: (fit_linear(noisy, y, 4, l2).predict(noisy_test) == test[1]).float().mean().item() for l2 in grid}
    chosen = choose_l2(noisy, y, grid, seed=0)
    assert chosen > 1.0
    assert accuracy[chosen] > max(accuracy.values()) - 0.03


def test_a_tie_goes_to_the_stronger_penalty() -> None:
    x, y = blobs(100, 2, spread=0.001)
    assert choose_l2(x, y, (0.1, 1.0, 10.0)) == 10.0


def test_wrong_inputs_are_named() -> None:
    x, y = blobs(10, 2, spread=0.1)
    with pytest.raises(InputError, match="l2 must be positive, got 0"):
        fit_linear(x, y, 2, 0)
    with pytest.raises(InputError, match="at least one labeled sample"):
        choose_l2(x[:1], y[:1], (1.0,))
    with pytest.raises(InputError, match="num_classes=1"):
        fit_linear(x, y, 1, 1.0)
