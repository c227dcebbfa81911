import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.evaluation import knn
from ssl_lightning.evaluation.knn import knn_predict, nearest


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw_labels(n: int, classes: int, seed: int = 9) -> Tensor:
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def naive(features: Tensor, probe_train: Tensor, labels: Tensor, classes: int, k: int, temperature: float) -> list[int]:
    mean = probe_train.double().mean(0)
    out = []
    for query in features.double() - mean:
        similarity = [float(query @ row / (query.norm() * row.norm())) for row in probe_train.double() - mean]
        nearest = sorted(range(len(probe_train)), key=lambda i: -similarity[i])[:k]
        votes = [0.0] * classes
        for i in nearest:
            votes[int(labels[i])] += math.exp(similarity[i] / temperature)
        out.append(votes.index(max(votes)))
    return out


@pytest.mark.parametrize("k", [1, 5, 1000])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_equals_the_naive_loop(k: int, temperature: float) -> None:
    features, probe_train, labels = draw(30, 6) + 3, draw(50, 6, seed=1) + 3, draw_labels(50, 4)
    expected = naive(features, probe_train, labels, 4, k, temperature)
    assert knn_predict(features, probe_train, labels, 4, k, temperature).tolist() == expected


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, probe_train, labels = draw(30, 6), draw(50, 6, seed=1), draw_labels(50, 4)
    whole = knn_predict(features, probe_train, labels, 4)
    monkeypatch.setattr(knn, "_CHUNK_ELEMENTS", 7 * 80)
    assert torch.equal(knn_predict(features, probe_train, labels, 4), whole)


def test_equals_scikit_learn_on_digits() -> None:
    x, y = load_digits(return_X_y=True)
    x -= x[:1200].mean(0)
    reference = KNeighborsClassifier(15, metric="cosine").fit(x[:1200], y[:1200]).predict(x[1200:])
    x, y = torch.tensor(x).float(), torch.tensor(y)
    ours = knn_predict(x[1200:], x[:1200], y[:1200], 10, k=15, temperature=1e6)
    assert (ours == torch.tensor(reference)).float().mean() > 0.99  # the rest are ties of votes
    assert (knn_predict(x[1200:], x[:1200], y[:1200], 10, k=15) == y[1200:]).float().mean() > 0.95


def test_an_offset_of_all_features_changes_nothing() -> None:
    features, probe_train, labels = draw(30, 6), draw(50, 6, seed=1), draw_labels(50, 4)
    assert torch.equal(
        knn_predict(features + 100, probe_train + 100, labels, 4), knn_predict(features, probe_train, labels, 4)
    )


def test_missing_classes_and_a_tiny_bank() -> None:
    probe_train, labels = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([2, 5])
    features = torch.tensor([[3.0, 0.1], [-2.0, 0.1]])
    assert knn_predict(features, probe_train, labels, 10, k=20).tolist() == [2, 5]
    assert knn_predict(features[:0], probe_train, labels, 10).shape == (0,)


def test_a_tiny_temperature_is_the_nearest_neighbor() -> None:
    features, probe_train, labels = draw(30, 6), draw(50, 6, seed=1), draw_labels(50, 4)
    sharp = knn_predict(features, probe_train, labels, 4, k=20, temperature=1e-6)
    assert torch.equal(sharp, knn_predict(features, probe_train, labels, 4, k=1))


def test_wrong_inputs_are_named() -> None:
    x, y = draw(4, 2), torch.tensor([0, 1, 2, 3])
    with pytest.raises(InputError, match="from 0 to 3, but num_classes=3"):
        knn_predict(x, x, y, 3)
    with pytest.raises(InputError, match=r"\(3,\) labels do not fit \(4, 2\)"):
        knn_predict(x, x, y[:3], 4)
    with pytest.raises(InputError, match="at least one"):
        knn_predict(x, x[:0], y[:0], 4)


@pytest.mark.parametrize("chunk", [16, 37, 4096])
def test_nearest_neighbors_are_those_of_scikit_learn(tmp_path, chunk):
    x = np.random.default_rng(0).normal(3.0, 1.0, (150, 12)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    parts = list(nearest(np.load(tmp_path / "x.npy", mmap_mode="r"), 4, chunk=chunk))
    assert max(len(part[0]) for part in parts) == min(chunk, 150)
    cosine, row = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    centered = x - x.mean(axis=0)
    distance, expected = NearestNeighbors(n_neighbors=5, metric="cosine").fit(centered).kneighbors()[:2]
    np.testing.assert_array_equal(row, expected[:, :4])
    np.testing.assert_allclose(cosine, 1 - distance[:, :4], atol=1e-5)


def test_there_are_no_more_neighbors_than_others():
    ((cosine, row),) = nearest(np.eye(3, dtype=np.float32), 5)
    assert (cosine.shape, sorted(row[0].tolist())) == ((3, 2), [1, 2])
