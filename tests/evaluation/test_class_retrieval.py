import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.evaluation import class_retrieval as module
from ssl_lightning.evaluation.class_retrieval import retrieval


def draw(seed: int = 0, n: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 5, generator=generator) + 2, torch.randint(4, (n,), generator=generator)


def test_average_precision_is_that_of_scikit_learn() -> None:
    x, labels = draw()
    found = retrieval(x, labels)
    centered = torch.nn.functional.normalize(x - x.mean(dim=0), dim=1)
    for place, query in enumerate(found["query"].tolist()):
        others = torch.arange(len(x)) != query
        similarity, right = (centered @ centered[query])[others], (labels == labels[query])[others]
        expected = average_precision_score(right.numpy(), similarity.numpy())
        assert float(found["map"][place]) == pytest.approx(expected, abs=1e-6)
        for k in (1, 5, 10):
            assert bool(found[f"recall_{k}"][place]) == bool(right[similarity.argsort(descending=True)[:k]].any())


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = draw()
    whole = retrieval(x, labels)
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 7 * len(x))
    for name, values in retrieval(x, labels).items():
        torch.testing.assert_close(values, whole[name])


def test_copies_of_an_original_are_not_retrieved() -> None:
    x, labels = draw(n=20)
    copies = {"features": x.repeat(3, 1) + 1e-3 * torch.randn(60, 5), "labels": labels.repeat(3)}
    trivial = retrieval(**copies)
    assert trivial["recall_1"].all()
    honest = retrieval(**copies, groups=torch.arange(20).repeat(3))
    assert honest["recall_1"].float().mean() < 0.6


def test_a_class_of_one_asks_nothing() -> None:
    x, _ = draw(n=4)
    assert retrieval(x, torch.tensor([0, 1, 0, 2]))["query"].tolist() == [0, 2]
    with pytest.raises(InputError, match="a class with two samples"):
        retrieval(x, torch.arange(4))
