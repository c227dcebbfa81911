import math

import lightly.loss as lightly
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.losses.clustering import koleo, sinkhorn, swapped


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_sinkhorn(scores: Tensor, temperature: float, iterations: int) -> list[list[float]]:
    B, P = scores.shape
    q = [[math.exp(float(scores[b, p]) / temperature) for p in range(P)] for b in range(B)]
    for _ in range(iterations):
        for p in range(P):
            mass = sum(row[p] for row in q)
            for row in q:
                row[p] /= mass * P
        for row in q:
            mass = sum(row)
            row[:] = [x / mass / B for x in row]
    return [[x * B for x in row] for row in q]


@pytest.mark.parametrize("iterations", [1, 3])
def test_sinkhorn_equals_a_loop(iterations: int) -> None:
    scores = F.normalize(draw(6, 4))
    expected = torch.tensor(naive_sinkhorn(scores, 0.5, iterations), dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(scores, 0.5, iterations), expected, atol=1e-12, rtol=0)


def test_sinkhorn_uses_all_prototypes_alike() -> None:
    """Also where one prototype is the nearest of all samples, and at a temperature whose exponentials overflow."""
    scores = F.normalize(draw(64, 8).float())
    scores[:, 0] += 1
    assigned = sinkhorn(scores, 0.005, iterations=200)
    torch.testing.assert_close(assigned.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(assigned.sum(dim=0), torch.full((8,), 8.0), atol=0.2, rtol=0)


def test_swapped_equals_a_loop() -> None:
    scores, targets = [draw(5, 3, seed=s) for s in range(4)], [draw(5, 3, seed=s).softmax(1) for s in (7, 8)]
    losses = []
    for i, target in enumerate(targets):
        for j, view in enumerate(scores):
            if i != j:
                for q, s in zip(target, view, strict=True):
                    z = sum(math.exp(float(x) / 0.1) for x in s)
                    losses.append(-sum(float(a) * (float(x) / 0.1 - math.log(z)) for a, x in zip(q, s, strict=True)))
    assert len(losses) == 2 * 3 * 5
    assert swapped(scores, targets, 0.1).item() == pytest.approx(sum(losses) / len(losses), rel=1e-12)


def test_equal_scores_give_the_logarithm_of_the_prototypes() -> None:
    scores = torch.zeros(4, 10)
    assert swapped([scores, scores], [sinkhorn(scores, 0.05)] * 2, 0.1).item() == pytest.approx(math.log(10))


def test_no_gradient_enters_the_targets() -> None:
    scores, targets = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    swapped([scores, scores], [targets.softmax(1)] * 2, 0.1).backward()
    assert scores.grad is not None
    assert targets.grad is None


def test_koleo_equals_a_loop() -> None:
    h = draw(7, 3)
    unit = [x / x.norm() for x in h]
    nearest = [min(float((a - b).norm()) for j, b in enumerate(unit) if j != i) for i, a in enumerate(unit)]
    assert koleo(h).item() == pytest.approx(-sum(map(math.log, nearest)) / 7, rel=1e-6)


def test_koleo_of_a_square() -> None:
    """The four corners have their nearest neighbors at a distance of sqrt(2)."""
    corners = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    assert koleo(3 * corners).item() == pytest.approx(-math.log(2) / 2, abs=1e-7)


def test_koleo_of_equal_embeddings_is_finite() -> None:
    h = torch.ones(4, 3, requires_grad=True)
    koleo(h).backward()
    assert h.grad is not None
    assert h.grad.isfinite().all()


def test_as_lightly_has_them() -> None:
    scores = [F.normalize(draw(16, 6, seed=s)).float() for s in range(4)]
    ours = swapped(scores, [sinkhorn(s, 0.05) for s in scores[:2]], 0.1)
    theirs = lightly.SwaVLoss(temperature=0.1, sinkhorn_epsilon=0.05)(scores[:2], scores[2:])
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)
    h = draw(16, 6).float()
    assert koleo(h).item() == pytest.approx(lightly.KoLeoLoss()(h).item(), rel=1e-5)
    teacher = [draw(16, 6, seed=s).float() for s in (8, 9)]
    dino = lightly.DINOLoss(output_dim=6, teacher_temp=0.04, warmup_teacher_temp=0.04)
    targets = [(t / 0.04).softmax(dim=1) for t in teacher]
    assert swapped(scores, targets, 0.1).item() == pytest.approx(dino(teacher, scores, epoch=0).item(), rel=1e-4)
