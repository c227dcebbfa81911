import pytest
import torch
from hydra.errors import InstantiationException
from methods.recipe import make_batch, make_method, seeded_loss
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.methods.ijepa import IJEPA
from ssl_lightning.modules.masking import block_masks
from ssl_lightning.modules.patches import gather_tokens, patchify
from ssl_lightning.randomness import seed_generators


def apart() -> IJEPA:
    """With a teacher that is not its student any more."""
    method = make_method("ijepa")
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return method


def masks() -> tuple[Tensor, Tensor]:
    seed_generators(0, 0)
    return block_masks(16, 7)


def test_loss_is_block_by_block() -> None:
    method, x = apart(), make_batch("ijepa")["views"][0]
    loss, (visible, masked) = seeded_loss(method, {"views": [x]})["loss"], masks()
    h = method.backbone.encode(method.backbone.patch_tokens(x), visible)
    of_teacher = F.layer_norm(method.teacher.encode(method.teacher.patch_tokens(x)), (16,))
    errors = []
    for block in masked.unbind(1):
        predicted = method.predictor(h, visible, block[:, None])[:, 0]
        errors.append(F.smooth_l1_loss(predicted, gather_tokens(of_teacher, block)))
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_what_the_targets_show_has_no_say_in_the_prediction() -> None:
    method, x = apart(), make_batch("ijepa")["views"][0]
    visible, masked = masks()
    seen = torch.zeros(16, 49, dtype=torch.bool).scatter_(1, visible, True).view(16, 1, 7, 7)
    other = torch.where(seen.repeat_interleave(4, 2).repeat_interleave(4, 3), x, torch.randn_like(x))
    assert torch.equal(method.predict(x, visible, masked), method.predict(other, visible, masked))


def test_only_context_tokens_reach_the_student() -> None:
    method = apart()
    shapes: dict[str, list] = {"backbone": [], "teacher": [], "predictor": []}
    for name, seen in shapes.items():
        getattr(method, name).blocks.register_forward_pre_hook(
            lambda _, inputs, seen=seen: seen.append(tuple(inputs[0].shape))
        )
    seeded_loss(method, make_batch("ijepa"))
    (visible, masked) = masks()
    V, (_, M, K) = visible.shape[1], masked.shape
    assert shapes == {"backbone": [(16, V, 16)], "teacher": [(16, 49, 16)], "predictor": [(16 * M, V + K, 64)]}


def test_predictions_are_made_for_their_places() -> None:
    """The same context, other places: other predictions, and each place of a block has its own."""
    method, x = apart(), make_batch("ijepa")["views"][0]
    visible, masked = masks()
    predicted = method.predict(x, visible, masked)
    assert predicted.shape == (*masked.shape, 16)
    assert not torch.allclose(predicted[:, 0], predicted[:, 1])
    turned = method.predict(x, visible, masked.flip(2))
    torch.testing.assert_close(turned, predicted.flip(2))


def test_only_student_and_predictor_learn() -> None:
    method = apart()
    for p in method.teacher.parameters():
        p.requires_grad_()  # even then the loss must not reach it
    seeded_loss(method, make_batch("ijepa"))["loss"].backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    for part in (method.predictor, method.backbone):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


def test_the_embedding_is_the_teachers_mean() -> None:
    method, x = apart(), make_batch("ijepa")["views"][0]
    of_all = method.teacher.encode(method.teacher.patch_tokens(x))
    assert torch.equal(method(x), of_all.mean(dim=1))
    assert torch.equal(seeded_loss(method, {"views": [x]})["embedding"], method(x))


@pytest.mark.parametrize(("progress", "momentum"), [(0.0, 0.9), (0.5, 0.95), (1.0, 1.0)])
def test_momentum_rises_in_a_line(progress: float, momentum: float) -> None:
    method = make_method("ijepa", momentum=0.9)
    with torch.no_grad():
        for p in method.backbone.parameters():
            p.fill_(1.0)
        for p in method.teacher.parameters():
            p.fill_(0.0)
    method.after_step(progress)
    for p in method.teacher.parameters():
        torch.testing.assert_close(p, torch.full_like(p, 1 - momentum), atol=1e-6, rtol=0)


def test_what_is_shown() -> None:
    method, x = apart(), make_batch("ijepa")["views"][0]
    seed_generators(0, 0)
    shown = method.show({"views": [x]})
    visible, masked = masks()
    assert list(shown) == ["image", "context", "nearest patches"]
    image, seen, painted = (patchify(column, 4) for column in shown.values())
    assert torch.equal(gather_tokens(seen, visible), gather_tokens(image, visible))
    assert int((seen != 0).any(dim=2).sum()) == visible.numel()
    known = image.flatten(0, 1)
    for patch in gather_tokens(painted, masked.flatten(1)).flatten(0, 1)[:50]:
        assert (known == patch).all(dim=1).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_scale": [0.3, 0.9]}, r"method.target_scale=\[0.3, 0.9\] and method.context_scale=.* must rise"),
        ({"context_scale": [0.5, 1.5]}, "must rise to at most 1"),
        ({"predictor_heads": 5}, "method.predictor_heads=5 does not divide method.predictor_width=64"),
    ],
)
def test_what_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(InstantiationException, match=message):
        make_method("ijepa", **changes)
