import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from ssl_lightning.losses.language import distillation, rows_at_once, select_rows, token_cross_entropy

M, D, V = 11, 6, 17


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def ids(seed: int = 0) -> Tensor:
    return torch.randint(V, (M,), generator=torch.Generator().manual_seed(seed))


def make_head(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(D, D), nn.GELU(), nn.Linear(D, V)).double()


def naive_cross_entropy(logits: Tensor, targets: Tensor) -> float:
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        total += math.log(sum(math.exp(x) for x in row)) - row[target]
    return total / len(logits)


def naive_divergence(student: Tensor, teacher: Tensor, temperature: float) -> float:
    total = 0.0
    for s_row, t_row in zip(student.tolist(), teacher.tolist(), strict=True):
        s, t = ([math.exp(x / temperature) for x in row] for row in (s_row, t_row))
        s, t = [x / sum(s) for x in s], [x / sum(t) for x in t]
        total += sum(b * (math.log(b) - math.log(a)) for a, b in zip(s, t, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("chunk", [1, 4, 10, 11, 100])
def test_chunks_equal_the_naive_loss_and_its_gradients(chunk: int) -> None:
    h, targets, head = draw(M, D).requires_grad_(), ids(), make_head()
    loss, accuracy = token_cross_entropy(h, head, targets, chunk)
    found = torch.autograd.grad(loss, [h, *head.parameters()])
    logits = head(h)
    whole = torch.autograd.grad(F.cross_entropy(logits, targets), [h, *head.parameters()])
    assert loss.item() == pytest.approx(naive_cross_entropy(logits, targets), rel=1e-12)
    assert accuracy.item() == pytest.approx(sum(logits.argmax(1) == targets).item() / M)
    assert not accuracy.requires_grad
    for a, b in zip(found, whole, strict=True):
        torch.testing.assert_close(a, b)


def test_equal_logits() -> None:
    loss, _ = token_cross_entropy(draw(M, D), lambda h: torch.zeros(len(h), V), ids(), 4)
    assert loss.item() == pytest.approx(math.log(V), rel=1e-6)


def test_no_row_is_no_loss() -> None:
    h, head = draw(0, D).requires_grad_(), make_head()
    loss, accuracy = token_cross_entropy(h, head, torch.empty(0, dtype=torch.long), 4)
    loss.backward()
    assert loss.item() == accuracy.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


def saved_bytes(rows: int, chunk: int, vocabulary: int) -> tuple[int, int]:
    """Bytes that the backward pass keeps, of all tensors, and the largest one."""
    sizes: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    head = nn.Linear(8, vocabulary, bias=False)
    weight = head.weight.untyped_storage().data_ptr()
    h = torch.randn(rows, 8, requires_grad=True)
    with saved_tensors_hooks(pack, lambda x: x):
        loss, _ = token_cross_entropy(h, head, torch.zeros(rows, dtype=torch.long), chunk)
    kept = {place: size for place, size in sizes.items() if place != weight}
    loss.backward()
    return sum(kept.values()), max(kept.values())


def test_memory_does_not_grow_with_the_vocabulary() -> None:
    """Without chunks the logits are kept, M x V; with them only what the chunks begin from."""
    rows, vocabulary = 512, 4096
    whole, _ = saved_bytes(rows, rows, vocabulary)
    small, _ = saved_bytes(rows, 32, 256)
    large, largest = saved_bytes(rows, 32, vocabulary)
    assert whole > rows * vocabulary * 4
    assert large == small
    assert largest <= rows * 8 * 4
    assert large < whole / 100


def peak_bytes(rows: int, chunk: int, vocabulary: int) -> int:
    """The most that stood allocated beyond what was there before, forward and backward, from the profiler's memory."""
    head, targets = nn.Linear(8, vocabulary, bias=False), torch.zeros(rows, dtype=torch.long)
    h = torch.randn(rows, 8, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        token_cross_entropy(h, head, targets, chunk)[0].backward()
    now = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def test_peak_memory_is_that_of_a_chunk() -> None:
    vocabulary, chunk = 4096, 32
    logits = 4 * vocabulary
    one, many, whole = (peak_bytes(*args, vocabulary) for args in ((64, chunk), (1024, chunk), (1024, 1024)))
    assert whole > 2 * 1024 * logits
    assert many < 6 * chunk * logits
    assert many - one < 960 * 8 * 4 * 4  # what grows is of the size of h, not of the logits


@pytest.mark.parametrize("chunk", [3, 100])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_distillation_equals_the_naive_losses(chunk: int, temperature: float) -> None:
    h, soft_h = draw(M, D).requires_grad_(), draw(M, D, seed=1).requires_grad_()
    head, soft_head, targets = make_head(), make_head(seed=2), ids()
    soft, hard, accuracy = distillation(h, head, targets, soft_h, soft_head, temperature, chunk)
    assert soft.item() == pytest.approx(naive_divergence(head(h), soft_head(soft_h), temperature), rel=1e-10)
    assert hard.item() == pytest.approx(naive_cross_entropy(head(h), targets), rel=1e-12)
    assert accuracy.item() == token_cross_entropy(h, head, targets, chunk)[1].item()
    (soft + hard).backward()
    assert soft_h.grad is None
    assert all(p.grad is None for p in soft_head.parameters())
    assert h.grad is not None
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())


def test_a_student_like_its_teacher_has_no_soft_loss() -> None:
    h, head = draw(M, D), make_head()
    assert distillation(h, head, ids(), h, head, 2.0, 4)[0].item() == pytest.approx(0, abs=1e-12)


def test_select_rows() -> None:
    x, chosen = draw(3, 4, D), torch.rand(3, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    assert torch.equal(select_rows(x, chosen), x[chosen])
    assert torch.equal(select_rows(x, torch.ones(3, 4, dtype=torch.bool)), x.flatten(0, 1))
    assert len(select_rows(x, torch.zeros(3, 4, dtype=torch.bool))) == 0


def test_half_precision_is_lifted() -> None:
    h, head = draw(M, D, dtype=torch.float32), make_head().float()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = token_cross_entropy(h, head, ids(), 4)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(naive_cross_entropy(head(h), ids()), rel=0.02)


def test_a_chunk_is_64_megabytes_of_logits() -> None:
    assert rows_at_once(2**14) * 2**14 * 4 == 2**26
    assert rows_at_once(2**30) == 1


def test_the_number_of_rows_does_not_show() -> None:
    """Rows are filled up within: one head call sees a multiple of 32, and nothing of it is in the result."""
    weight, seen = torch.randn(11, 5), []

    def head(h: Tensor) -> Tensor:
        seen.append(len(h))
        return h @ weight.T

    for M in (1, 31, 32, 33, 70):
        h, targets = torch.randn(M, 5, requires_grad=True), torch.randint(11, (M,))
        loss, accuracy = token_cross_entropy(h, head, targets, 1000)
        expected = F.cross_entropy(h @ weight.T, targets)
        torch.testing.assert_close(loss, expected)
        assert accuracy == ((h @ weight.T).argmax(dim=1) == targets).float().mean()
        torch.testing.assert_close(torch.autograd.grad(loss, h), torch.autograd.grad(expected, h))
    assert seen == [32, 32, 32, 64, 96]
