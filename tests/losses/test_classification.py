import math

import pytest
import torch

from ssl_lightning.errors import InputError
from ssl_lightning.losses.classification import cross_entropy


def test_equals_a_naive_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(5, (7,), generator=generator)
    losses, right = [], []
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        losses.append(math.log(sum(math.exp(x) for x in row)) - row[target])
        right.append(row[target] == max(row))
    loss, accuracy = cross_entropy(logits, targets)
    assert loss.item() == pytest.approx(sum(losses) / 7, rel=1e-12)
    assert accuracy.item() == pytest.approx(sum(right) / 7)


def test_indifference_costs_the_logarithm() -> None:
    loss, accuracy = cross_entropy(torch.zeros(8, 4, dtype=torch.bfloat16, requires_grad=True), torch.zeros(8).long())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(4), rel=1e-6)
    assert not accuracy.requires_grad


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InputError, match=r"\(4, 3\) and \(5,\)"):
        cross_entropy(torch.zeros(4, 3), torch.zeros(5).long())
