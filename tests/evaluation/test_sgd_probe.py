from dataclasses import replace

import torch
from torch import Tensor

from ssl_lightning.evaluation.sgd_probe import SGDProbe

RECIPE = SGDProbe(rates=(0.1, 1e-6), epochs=5, min_steps=50, batch_size=32)


def points(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two classes on both sides of a line through the first two of three columns of very different size."""
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * torch.tensor([1.0, 100.0, 0.01])
    return x, (x[:, 0] > x[:, 1] / 100).long()


def accuracy(recipe: SGDProbe, held: tuple[Tensor, Tensor]) -> float:
    (x, y), (x_test, y_test) = points(300, 0), points(300, 1)
    probe = recipe.fit(x.__getitem__, y, {"features": held[0], "labels": held[1]}, 2)
    return float((probe(x_test).argmax(dim=1) == y_test).float().mean())


def test_a_line_is_found_and_the_state_stays() -> None:
    state = torch.get_rng_state()
    found = accuracy(RECIPE, points(100, 2))
    assert found > 0.95
    assert torch.equal(torch.get_rng_state(), state)
    assert accuracy(RECIPE, points(100, 2)) == found


def test_the_rate_that_is_best_on_held_out_samples_is_chosen() -> None:
    x, y = points(100, 2)
    slow = accuracy(replace(RECIPE, rates=(1e-6,)), (x, y))
    assert slow < 0.9
    assert accuracy(RECIPE, (x, 1 - y)) == accuracy(replace(RECIPE, rates=(0.1, 1e-6)), (x, 1 - y)) < 0.9


def test_every_batch_is_encoded_anew() -> None:
    x, y = points(300, 0)
    seen: list[Tensor] = []

    def encode(rows: Tensor) -> Tensor:
        seen.append(rows)
        return x[rows] + torch.randn(len(rows), 3)

    RECIPE.fit(encode, y, {"features": x, "labels": y}, 2)
    assert len(seen) == 1 + 50
    assert {len(rows) for rows in seen[1:]} == {32}
