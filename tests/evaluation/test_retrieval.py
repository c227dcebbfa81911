"""Ranks and recalls against torchmetrics', chance against random orders, and classes that are described in words."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.retrieval import retrieval_hit_rate

from ssl_lightning.errors import InputError
from ssl_lightning.evaluation import retrieval
from ssl_lightning.evaluation.retrieval import chance, figures, ranks
from ssl_lightning.evaluation.zero_shot import class_embeddings, classify


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_recall_is_torchmetrics_hit_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_CHUNK_ELEMENTS", 100)  # chunks of two queries
    queries, candidates = draw(15, 4), draw(40, 4, seed=1)
    right = torch.cat([torch.stack([torch.arange(15), torch.arange(15)], 1), torch.tensor([[3, 39], [3, 20], [14, 0]])])
    found = figures(ranks(queries, candidates, right))
    is_right = torch.zeros(15, 40, dtype=torch.bool)
    is_right[right[:, 0], right[:, 1]] = True
    cosine = F.normalize(queries, dim=1) @ F.normalize(candidates, dim=1).T
    for depth in (1, 5, 10):
        hits = [retrieval_hit_rate(*pair, top_k=depth) for pair in zip(cosine, is_right, strict=True)]
        assert found[f"recall_at_{depth}"] == pytest.approx(float(torch.stack(hits).mean()))
    assert 0 < found["recall_at_1"] < found["recall_at_10"] < 1


def test_an_encoder_that_makes_all_alike_finds_nothing() -> None:
    right = torch.arange(6)[:, None].expand(6, 2)
    assert ranks(torch.ones(6, 3), torch.ones(6, 3), right).tolist() == [6] * 6
    assert ranks(torch.eye(6), torch.eye(6), right).tolist() == [1] * 6


def test_chance_is_the_mean_of_random_orders() -> None:
    right = torch.tensor([1, 1, 3])
    expected = chance(right, 20)
    order = torch.rand(30_000, 20, generator=torch.Generator().manual_seed(0)).argsort(dim=1)
    found = torch.cat([1 + (order < count).int().argmax(dim=1) for count in right])
    for name, value in figures(found).items():
        assert expected[name] == pytest.approx(value, abs=0.01), name
    assert chance(torch.ones(5, dtype=torch.int64), 2000)["recall_at_1"] == pytest.approx(1 / 2000)
    assert chance(torch.tensor([3]), 4) == {
        **dict.fromkeys(("recall_at_5", "recall_at_10"), 1.0),
        "recall_at_1": 0.75,
        "median_rank": 1.0,
    }


def test_prompts_are_averaged_as_directions() -> None:
    space = {"a cat": [3.0, 0.0], "cat!": [0.0, 5.0], "a dog": [-1.0, 0.0], "dog!": [-1.0, 0.0]}
    classes = class_embeddings(
        lambda texts: torch.tensor([space[text] for text in texts]), ["cat", "dog"], ["a {}", "{}!"]
    )
    torch.testing.assert_close(classes, torch.tensor([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]]))
    assert classify(torch.tensor([[9.0, 1.0], [-1.0, 0.5]]), classes).tolist() == [0, 1]
    with pytest.raises(InputError, match=r"each needs \{\} for the name of a class"):
        class_embeddings(lambda texts: draw(len(texts), 2), ["cat"], ["a cat"])
