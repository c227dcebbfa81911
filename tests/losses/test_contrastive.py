import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from distributed.harness import run
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_lightning import distributed
from ssl_lightning.errors import InputError
from ssl_lightning.losses.contrastive import info_nce_queue, nt_xent
from ssl_lightning.losses.cosine import byol_loss

CUDA = torch.cuda.is_available()
HALVES = [torch.float16, torch.bfloat16]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def naive_nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> float:
    views = [*z1, *z2]
    total = 0.0
    for i, anchor in enumerate(views):
        positive = (i + len(z1)) % len(views)
        others = [math.exp(cosine(anchor, view) / temperature) for j, view in enumerate(views) if j != i]
        total -= math.log(math.exp(cosine(anchor, views[positive]) / temperature) / sum(others))
    return total / len(views)


def naive_info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> float:
    total = 0.0
    for query, key in zip(q, k, strict=True):
        positive = math.exp(cosine(query, key) / temperature)
        negatives = sum(math.exp(cosine(query, row) / temperature) for row in queue)
        total -= math.log(positive / (positive + negatives))
    return total / len(q)


def rank_share(z1: Tensor, z2: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Loss and gradient as data-parallel training has them: both averaged over ranks."""
    b = len(z1) // distributed.world_size()
    rows = slice(distributed.rank() * b, (distributed.rank() + 1) * b)
    z = torch.stack([z1, z2]).requires_grad_()
    loss = nt_xent(z[0, rows], z[1, rows], temperature)
    loss.backward()
    assert z.grad is not None
    return loss.detach(), z.grad


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_equals_the_naive_loop(temperature: float) -> None:
    z1, z2 = draw(5, 3), draw(5, 3, seed=1)
    assert nt_xent(z1, z2, temperature).item() == pytest.approx(naive_nt_xent(z1, z2, temperature), rel=1e-12)


@pytest.mark.parametrize("B", [1, 2, 7])
def test_nt_xent_of_equal_embeddings(B: int) -> None:
    z = torch.ones(B, 4)
    assert nt_xent(z, 3 * z, 0.5).item() == pytest.approx(math.log(2 * B - 1), abs=1e-6)


def test_nt_xent_of_orthogonal_samples() -> None:
    B, temperature = 4, 0.5
    z = torch.eye(B)
    expected = math.log(1 + (2 * B - 2) * math.exp(-1 / temperature))
    assert nt_xent(z, z, temperature).item() == pytest.approx(expected, rel=1e-6)


def test_nt_xent_knows_neither_the_order_of_views_nor_of_samples() -> None:
    z1, z2 = draw(6, 3), draw(6, 3, seed=1)
    loss = nt_xent(z1, z2, 0.2)
    torch.testing.assert_close(nt_xent(z2, z1, 0.2), loss)
    torch.testing.assert_close(nt_xent(z1.flip(0), z2.flip(0), 0.2), loss)


def test_nt_xent_of_two_processes_is_that_of_one() -> None:
    z1, z2 = draw(6, 4), draw(6, 4, seed=1)
    loss, gradient = rank_share(z1, z2, 0.2)
    shares = run(rank_share, z1, z2, 0.2)
    torch.testing.assert_close(torch.stack([share for share, _ in shares]).mean(), loss, rtol=0, atol=1e-12)
    torch.testing.assert_close(sum(g for _, g in shares) / 2, gradient, rtol=0, atol=1e-12)


def test_info_nce_equals_the_naive_loop() -> None:
    q, k, queue = draw(5, 3), draw(5, 3, seed=1), F.normalize(draw(7, 3, seed=2), dim=1)
    assert info_nce_queue(q, k, queue, 0.2).item() == pytest.approx(naive_info_nce(q, k, queue, 0.2), rel=1e-12)


def test_info_nce_of_equal_embeddings_and_of_an_orthogonal_queue() -> None:
    ones = torch.full((3, 4), 0.5)
    assert info_nce_queue(ones, ones, torch.full((9, 4), 0.5), 0.07).item() == pytest.approx(math.log(10), rel=1e-5)
    q, queue = torch.eye(4)[:2], torch.eye(4)[2:]
    assert info_nce_queue(q, q, queue, 0.5).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-6)


def test_info_nce_gives_gradient_to_the_queries_alone() -> None:
    q, k, queue = (draw(4, 3, seed=seed).requires_grad_() for seed in range(3))
    info_nce_queue(q, k, queue, 0.2).backward()
    assert q.grad is not None
    assert q.grad.abs().sum() > 0
    assert k.grad is None
    assert queue.grad is None


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
@pytest.mark.parametrize("temperature", [1e-3, 0.1])
def test_large_inputs_stay_finite(dtype: torch.dtype, temperature: float) -> None:
    a, b = (draw(8, 16, seed=seed, dtype=dtype).mul_(1e4).requires_grad_() for seed in range(2))
    queue = F.normalize(draw(32, 16, seed=2), dim=1).to(dtype)
    for loss in (nt_xent(a, b, temperature), info_nce_queue(a, b, queue, temperature)):
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        a.grad = None
        loss.backward()
        assert a.grad is not None
        assert a.grad.isfinite().all()


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_lifted_before_any_rounding(dtype: torch.dtype) -> None:
    a, b = draw(8, 16, dtype=dtype), draw(8, 16, seed=1, dtype=dtype)
    queue = F.normalize(draw(32, 16, seed=2), dim=1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = nt_xent(a, b, 0.1), info_nce_queue(a, b, queue, 0.1)
    exact = nt_xent(a.double(), b.double(), 0.1), info_nce_queue(a.double(), b.double(), queue.double(), 0.1)
    for loss, truth in zip(under_autocast, exact, strict=True):
        assert truth.dtype == torch.float64
        assert loss.item() == pytest.approx(truth.item(), rel=1e-5)


class Dtypes(TorchDispatchMode):
    """The dtypes of everything that products, norms and softmax compute."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[str, torch.dtype]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if any(part in name for part in ("mm", "mul", "div", "norm", "softmax", "sum", "pow")):
            self.seen |= {(name, t.dtype) for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, Tensor)}
        return out


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not CUDA, reason="torch sees no GPU")])],
)
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("inputs", [*HALVES, torch.float32])
def test_logits_softmax_and_norms_are_float32_under_autocast(
    device: str, dtype: torch.dtype, inputs: torch.dtype
) -> None:
    a, b = (draw(8, 16, seed=seed, dtype=inputs).to(device).requires_grad_() for seed in range(2))
    queue = F.normalize(draw(32, 16, seed=2), dim=1).float().to(device)
    for loss in (lambda: nt_xent(a, b, 0.1), lambda: info_nce_queue(a, b, queue, 0.1), lambda: byol_loss(a, b)):
        with torch.autocast(device, dtype=dtype), Dtypes() as dtypes:
            assert loss().dtype == torch.float32
        assert len(dtypes.seen) > 2
        assert {dtype for _, dtype in dtypes.seen} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_wide_embeddings_of_a_network_under_autocast(dtype: torch.dtype) -> None:
    """The largest logits: width 10,000, temperature 0.001, from a layer that computes in half precision."""
    layer, x = torch.nn.Linear(16, 10_000), draw(12, 16, dtype=torch.float32) * 1e3
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        z1, z2 = layer(x), layer(x.flip(0))
        queue = F.normalize(layer(-x).detach().float(), dim=1)
        loss = nt_xent(z1, z2, 1e-3) + info_nce_queue(z1, z2, queue, 1e-3)
    assert z1.dtype == dtype
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(InputError, match=r"\(4, 3\) and \(5, 3\)"):
        nt_xent(draw(4, 3), draw(5, 3), 0.1)
