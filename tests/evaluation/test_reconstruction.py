import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.reconstruction import pca_errors, principal_components, squared_errors


def rows(seed: int, count: int, width: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator)
    return torch.randn(count, width, generator=generator) @ mixing + 5


@pytest.mark.parametrize("count", [1, 4, 12])
def test_pca_is_that_of_scikit_learn(count: int) -> None:
    train, test = rows(0, 300), rows(0, 350)[300:]
    mean, directions = principal_components(train.split(64), count)
    theirs = PCA(count, svd_solver="full").fit(train.double().numpy())
    restored = theirs.inverse_transform(theirs.transform(test.double().numpy()))
    expected = np.square(restored - test.double().numpy()).mean(axis=1)
    np.testing.assert_allclose(pca_errors(test, mean, directions).numpy(), expected, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(mean.numpy(), theirs.mean_, rtol=1e-5)


def test_directions_are_orthonormal_and_all_of_them_lose_nothing() -> None:
    x = rows(1, 100)
    mean, directions = principal_components([x], 12)
    torch.testing.assert_close(directions.T @ directions, torch.eye(12, dtype=torch.float64))
    assert pca_errors(x, mean, directions).max() < 1e-12


def test_rows_on_a_line_need_one_component() -> None:
    x = torch.randn(50, 1) * torch.tensor([[1.0, -2.0, 0.5]]) + 3
    mean, directions = principal_components([x], 1)
    assert pca_errors(x, mean, directions).max() < 1e-10


def test_squared_errors_are_in_the_unit_of_the_scale() -> None:
    target = torch.randn(3, 5, 2, 4, 4)
    predicted = target + torch.tensor([1.0, 2.0])[:, None, None]
    found = squared_errors(predicted, target, torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(found, torch.full((3,), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("count", [0, 13])
def test_more_components_than_numbers(count: int) -> None:
    with pytest.raises(InputError, match=rf"{count} principal components cannot be had of 9 rows of 12 numbers"):
        principal_components([rows(0, 9)], count)
