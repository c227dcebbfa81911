"""CLIP's and SigLIP's losses against naive loops, closed forms, open_clip's, and two processes."""

import math
from collections.abc import Callable

import open_clip
import pytest
import torch
import torch.nn.functional as F
from distributed.harness import run
from torch import Tensor

from ssl_lightning import distributed
from ssl_lightning.errors import InputError
from ssl_lightning.losses.image_text import clip_loss, same_pairs, siglip_loss

SCALE, BIAS = torch.tensor([7.0], dtype=torch.float64), torch.tensor([-3.0], dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def siglip(image: Tensor, text: Tensor, scale: Tensor, same: Tensor | None = None) -> Tensor:
    return siglip_loss(image, text, scale, BIAS, same)


LOSSES = {"clip": clip_loss, "siglip": siglip}
both = pytest.mark.parametrize("loss", LOSSES)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def naive(loss: str, image: Tensor, text: Tensor, left_out: Callable[[int, int], bool] = lambda i, j: False) -> float:
    B, total = len(image), 0.0
    for i in range(B):
        others = [j for j in range(B) if j == i or not left_out(i, j)]
        if loss == "siglip":
            for j in others:
                logit = 7 * cosine(image[i], text[j]) - 3
                total += math.log(1 + math.exp(-logit if i == j else logit))
        else:
            for anchor, candidates in ((image[i], text), (text[i], image)):
                weights = {j: math.exp(7 * cosine(anchor, candidates[j])) for j in others}
                total -= math.log(weights[i] / sum(weights.values())) / 2
    return total / B


@both
def test_the_naive_loop(loss: str) -> None:
    image, text = draw(6, 4), draw(6, 4, seed=1)
    assert float(LOSSES[loss](image, text, SCALE)) == pytest.approx(naive(loss, image, text), rel=1e-12)


@both
def test_open_clip(loss: str) -> None:
    """The loss and its gradients, of the projections, the scale and the bias."""
    leaves = [draw(9, 5).requires_grad_(), draw(9, 5, seed=1).requires_grad_(), SCALE.clone().requires_grad_()]
    leaves += [BIAS.clone().requires_grad_()] if loss == "siglip" else []
    ours = clip_loss(*leaves) if loss == "clip" else siglip_loss(*leaves)
    image, text, *others = leaves
    theirs = open_clip.loss.ClipLoss() if loss == "clip" else open_clip.loss.SigLipLoss()
    expected = theirs(F.normalize(image, dim=1), F.normalize(text, dim=1), *others)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    for found, wanted in zip(*(torch.autograd.grad(x, leaves) for x in (ours, expected)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_closed_forms() -> None:
    z = torch.ones(5, 3)
    assert float(clip_loss(z, 2 * z, SCALE)) == pytest.approx(math.log(5), rel=1e-6)
    assert float(siglip_loss(z, 2 * z, SCALE * 0, BIAS * 0)) == pytest.approx(5 * math.log(2), rel=1e-6)
    eye = torch.eye(4)
    assert float(clip_loss(eye, eye, SCALE)) == pytest.approx(math.log(1 + 3 * math.exp(-7)), rel=1e-6)


@both
def test_duplicates_are_no_negatives(loss: str) -> None:
    captions, pixels = torch.tensor([[5, 6], [6, 5], [5, 6], [9, 9]]), torch.tensor([[1], [2], [3], [2]])
    same = same_pairs(captions, pixels)
    expected = [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    assert same.int().tolist() == expected
    image, text = draw(4, 3), draw(4, 3, seed=1)
    wanted = naive(loss, image, text, lambda i, j: bool(expected[i][j]))
    assert float(LOSSES[loss](image, text, SCALE, same)) == pytest.approx(wanted, rel=1e-12)
    assert wanted != pytest.approx(naive(loss, image, text), rel=1e-3)


def test_pixels_are_compared_whole() -> None:
    images = torch.randint(0, 256, (3, 1, 5, 7), dtype=torch.uint8)
    images[2] = images[0]
    images[1] = images[0]
    images[1, 0, 4, 6] += 1
    assert same_pairs(images).int().tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def share(loss: str, z: Tensor, captions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and gradients as data-parallel training has them, of this rank's rows."""
    b = z.shape[1] // distributed.world_size()
    rows = slice(distributed.rank() * b, (distributed.rank() + 1) * b)
    z, scale = z.clone().requires_grad_(), SCALE.clone().requires_grad_()
    same = None if captions is None else same_pairs(captions[rows])
    value = LOSSES[loss](z[0, rows], z[1, rows], scale, same)
    value.backward()
    assert z.grad is not None
    assert scale.grad is not None
    return value.detach(), z.grad, scale.grad


@pytest.mark.parametrize("captions", [None, torch.tensor([[1], [2], [1], [1], [4], [2]])])
@both
def test_two_processes_are_one(loss: str, captions: Tensor | None) -> None:
    z = draw(2, 6, 4)
    alone, shares = share(loss, z, captions), run(share, loss, z, captions)
    for whole, *parts in zip(alone, *shares, strict=True):
        torch.testing.assert_close(torch.stack(parts).mean(dim=0), whole, rtol=0, atol=1e-12)


@both
def test_half_precision_is_lifted_before_any_rounding(loss: str) -> None:
    image, text = draw(8, 16).bfloat16(), draw(8, 16, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = LOSSES[loss](image, text, SCALE.float())
    assert found.dtype in (torch.float32, torch.float64)
    assert float(found) == pytest.approx(float(LOSSES[loss](image.double(), text.double(), SCALE)), rel=1e-5)


@both
def test_other_shapes_are_refused(loss: str) -> None:
    with pytest.raises(InputError, match=r"\(4, 3\) and \(5, 3\)"):
        LOSSES[loss](draw(4, 3), draw(5, 3), SCALE)
