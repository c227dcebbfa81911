import copy
import math

import pytest
import torch
from methods.recipe import make_batch, make_method
from torch import Tensor
from torch.nn import functional as F


def naive_loss(p: Tensor, z: Tensor) -> Tensor:
    """Eq. 2: the squared distance of unit vectors."""
    pairs = zip(p, z, strict=True)
    return torch.stack([((a / a.norm() - b / b.norm()) ** 2).sum() for a, b in pairs]).mean()


def test_loss_predicts_either_view_from_the_other() -> None:
    method, (x1, x2) = make_method("byol"), make_batch("byol")["views"]
    apart = copy.deepcopy(method.teacher)
    with torch.no_grad():
        for p in apart.parameters():
            p.add_(0.1 * torch.randn_like(p))
    method.teacher.load_state_dict(apart.state_dict())
    p1, p2 = (method.predictor(method.projector(method.backbone(x))) for x in (x1, x2))
    expected = (naive_loss(p1, apart(x2)) + naive_loss(p2, apart(x1))) / 2
    torch.testing.assert_close(method.loss({"views": [x1, x2]})["loss"], expected)


def test_only_the_student_learns() -> None:
    method = make_method("byol")
    for p in method.teacher.parameters():
        p.requires_grad_()  # even then the loss must not reach it
    method.loss(make_batch("byol"))["loss"].backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    for part in (method.predictor, method.projector, method.backbone):
        assert all(p.grad is not None for p in part.parameters())
    for layer in (method.predictor[0], method.predictor[-1], method.projector[0], method.backbone[0][0]):
        assert layer.weight.grad.abs().max() > 1e-6


def test_teacher_begins_as_the_student() -> None:
    method, x = make_method("byol"), make_batch("byol")["views"][0]
    assert torch.equal(method.teacher(x), method.projector(method.backbone(x)))


@pytest.mark.parametrize(
    ("progress", "momentum"), [(0.0, 0.9), (0.25, 1 - 0.05 * (1 + math.cos(math.pi / 4))), (0.5, 0.95), (1.0, 1.0)]
)
def test_momentum_rises_to_one(progress: float, momentum: float) -> None:
    """Sec. 3.3: 1 - (1 - start) (cos(pi progress) + 1) / 2."""
    method = make_method("byol", momentum=0.9)
    with torch.no_grad():
        for p in (*method.backbone.parameters(), *method.projector.parameters()):
            p.fill_(1.0)
        for p in method.teacher.parameters():
            p.fill_(0.0)
    method.after_step(progress)
    for p in method.teacher.parameters():
        torch.testing.assert_close(p, torch.full_like(p, 1 - momentum), atol=1e-6, rtol=0)


def test_loss_lies_between_zero_and_four() -> None:
    method, batch = make_method("byol"), make_batch("byol")
    assert 0 <= method.loss(batch)["loss"].item() <= 4
    z = F.normalize(method.teacher(batch["views"][0]), dim=1)
    assert float(naive_loss(z, z)) == pytest.approx(0, abs=1e-6)
    assert float(naive_loss(z, -z)) == pytest.approx(4, rel=1e-6)
