import io
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.optim import muon
from ssl_lightning.optim.groups import parameter_groups
from ssl_lightning.optim.muon import MuonAdamW, orthogonalize
from ssl_lightning.optim.schedules import warmup_cosine

pytestmark = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")


def make_model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 4, 6), nn.Linear(6, 4))


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def their_orthogonalize(matrix: Tensor) -> Tensor:
    """What `torch.optim.Muon` does to a matrix, read off its own step."""
    w = torch.zeros_like(matrix).requires_grad_()
    w.grad = matrix.clone()
    torch.optim.Muon([w], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False).step()
    return -w.detach() / max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5


def train(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        (model(draw(5, 3, 4, 4, seed=step)) - draw(5, 4, seed=100 + step)).square().mean().backward()
        optimizer.step()
        scheduler.step()


def make(model: nn.Module) -> tuple[MuonAdamW, Any]:
    optimizer = MuonAdamW(parameter_groups(model), lr=0.01)
    return optimizer, warmup_cosine(optimizer, 8, 4, warmup_steps=2)


def test_each_part_is_what_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        muon, "orthogonalize", lambda matrices, steps: torch.stack([their_orthogonalize(m) for m in matrices])
    )
    ours, theirs = make_model(), make_model()
    optimizer = MuonAdamW(parameter_groups(ours), lr=0.01, weight_decay=0.1)
    by_axes = {axes: [p for p in theirs.parameters() if p.ndim == axes] for axes in (1, 2, 4)}
    theirs_muon = torch.optim.Muon(by_axes[2], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    groups = [{"params": by_axes[4], "weight_decay": 0.1}, {"params": by_axes[1], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95))
    for step in range(3):
        for i, (a, b) in enumerate(zip(ours.parameters(), theirs.parameters(), strict=True)):
            a.grad = draw(*a.shape, seed=10 * step + i)
            b.grad = a.grad.clone()
        optimizer.step()
        theirs_muon.step()
        adamw.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)  # theirs computes in bfloat16


def test_a_convolution_is_a_matrix_in_every_memory_format() -> None:
    gradient = draw(6, 3, 2, 2, seed=1)
    kernel = draw(6, 3, 2, 2, seed=0).requires_grad_()
    last = kernel.detach().clone(memory_format=torch.channels_last).requires_grad_()
    matrix = kernel.detach().flatten(1).clone().requires_grad_()
    for p in (kernel, last, matrix):
        for _ in range(2):
            p.grad = gradient.view(p.shape).clone(memory_format=torch.preserve_format)
            if p is last:
                p.grad = p.grad.to(memory_format=torch.channels_last)
        optimizer = MuonAdamW([{"params": [p], "hidden": True}], lr=0.1)
        optimizer.step()
        optimizer.step()
    assert torch.equal(kernel.flatten(1), matrix)
    assert torch.equal(last, kernel)
    assert last.is_contiguous(memory_format=torch.channels_last)


def after(values: Tensor, steps: int) -> Tensor:
    for a, b, c in muon.POLYNOMIALS[:steps]:
        values = a * values + b * values**3 + c * values**5
    return values


@pytest.mark.parametrize(("rows", "columns"), [(60, 60), (50, 90), (90, 50)])
def test_a_decaying_spectrum_comes_near_one(rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Momenta of real networks decay like this; the vectors stay as they are, and scale does not matter."""
    monkeypatch.setattr(muon, "cpu_has_bfloat16", lambda: False)
    count = min(rows, columns)
    u, v = (torch.linalg.qr(draw(4, size, count, seed=size).double())[0] for size in (rows, columns))
    before = torch.logspace(0, -2.6, count).double()
    before = before / before.pow(4).sum().pow(0.25)
    matrices = (u * 7 * before @ v.mT).float()
    found = {steps: u.mT @ orthogonalize(matrices, steps).double() @ v for steps in (2, 5)}
    for steps, made in found.items():
        values = made.diagonal(dim1=1, dim2=2)
        torch.testing.assert_close(made, torch.diag_embed(values), atol=2e-4, rtol=0)
        torch.testing.assert_close(values, after(before, steps).expand(4, -1), atol=2e-4, rtol=0)
    assert found[5].diagonal(dim1=1, dim2=2).min() > 0.84
    assert found[5].diagonal(dim1=1, dim2=2).max() < 1.13
    assert found[2].diagonal(dim1=1, dim2=2).median() < 0.8
    assert torch.equal(orthogonalize(matrices), orthogonalize(matrices, 5))


@pytest.mark.parametrize(("scale", "result"), [(0.0, 0.0), (1e-30, 0.0), (1e-6, 1.0), (1e12, 1.0)])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_gradients_of_any_size(scale: float, result: float, bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "cpu_has_bfloat16", lambda: bfloat16)
    matrices = draw(2, 12, 8, seed=0)
    expected = result * orthogonalize(matrices)
    torch.testing.assert_close(orthogonalize(scale * matrices), expected, atol=0.02, rtol=0)


def test_bfloat16_does_about_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = draw(4, 24, 64, seed=0) @ draw(64, 40, seed=1)
    found = []
    for has_it in (False, True):
        monkeypatch.setattr(muon, "cpu_has_bfloat16", lambda has_it=has_it: has_it)
        found.append(orthogonalize(matrices))
        assert found[-1].dtype == torch.float32
    assert 0 < (found[0] - found[1]).abs().max() < 0.06
    for made in found:
        values = torch.linalg.svdvals(made)
        assert values.min() > 0.8
        assert values.max() < 1.2


def test_float64_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "cpu_has_bfloat16", lambda: True)
    matrices = draw(2, 5, 7, seed=0).double()
    assert orthogonalize(matrices).dtype == torch.float64
    torch.testing.assert_close(orthogonalize(matrices), orthogonalize(matrices / 3), atol=1e-12, rtol=0)


def best_quintic(low: float, high: float) -> np.ndarray:
    """The odd quintic that is nearest to 1 on [low, high] in the worst case, by linear programming."""
    x = np.linspace(low, high, 4001)[:, None]
    powers = np.hstack([x, x**3, x**5])
    ones = np.ones_like(x)
    found = linprog(
        [0, 0, 0, 1], np.block([[powers, -ones], [-powers, -ones]]), np.vstack([ones, -ones]), bounds=(None, None)
    )
    return found.x[:3]


def test_each_polynomial_is_the_best_on_what_those_before_it_leave() -> None:
    """Algorithm 1 of Amsel et al. 2025 where nothing below 0.024 of the largest is looked at."""
    low, high = 1e-3, 1.0
    for ours in muon.POLYNOMIALS:
        best = best_quintic(max(low, 0.02407 * high), high)
        ends = [float(best @ (x, x**3, x**5)) for x in (low, high)]
        best *= 2 / sum(ends)  # centered around 1
        np.testing.assert_allclose(ours * np.array([1.01, 1.01**3, 1.01**5]), best, rtol=2e-3)
        low = float(best @ (low, low**3, low**5))
        high = 2 - low


def test_the_step_of_a_hidden_weight_is_nearly_orthogonal() -> None:
    for steps, low in ((5, 0.8), (1, 0.0)):
        w = draw(16, 8, seed=0).requires_grad_()
        before = w.detach().clone()
        w.grad = draw(16, 8, seed=1) * torch.logspace(0, -2, 8)
        MuonAdamW([{"params": [w], "hidden": True}], lr=1.0, weight_decay=0.0, steps=steps).step()
        singular = torch.linalg.svdvals(w.detach() - before) / (0.2 * 16**0.5)
        assert (singular.min() > 0.8) == (low > 0)
        assert (singular.max() < 1.15) == (low > 0)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    whole, half, resumed = (make_model().to(memory_format=layout) for _ in range(3))  # type: ignore[call-overload]
    train(whole, *make(whole), steps=range(6))

    optimizer, scheduler = make(half)
    train(half, optimizer, scheduler, steps=range(3))
    file = io.BytesIO()
    torch.save([half.state_dict(), optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    weights, optimizer_state, scheduler_state = torch.load(file, weights_only=True)

    optimizer, scheduler = make(resumed)
    resumed.load_state_dict(weights)
    optimizer.load_state_dict(optimizer_state)
    scheduler.load_state_dict(scheduler_state)
    train(resumed, optimizer, scheduler, steps=range(3, 6))
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_schedulers_move_every_group() -> None:
    model = make_model()
    optimizer, scheduler = make(model)
    before = [group["lr"] for group in optimizer.param_groups]
    train(model, optimizer, scheduler, steps=range(1))
    after = [group["lr"] for group in optimizer.param_groups]
    assert before == pytest.approx([0.01 / 3] * 3)
    assert after == pytest.approx([0.02 / 3] * 3)


def test_weights_moved_after_construction_are_still_trained() -> None:
    model = make_model()
    optimizer, scheduler = make(model)
    for p in model.parameters():
        p.data = p.data.clone()
    before = [p.detach().clone() for p in model.parameters()]
    train(model, optimizer, scheduler, steps=range(1))
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_it_learns() -> None:
    model = make_model()
    optimizer = MuonAdamW(parameter_groups(model), lr=0.02)
    x, y = draw(16, 3, 4, 4, seed=0), draw(16, 4, seed=1)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_a_closure_is_called_and_its_loss_returned() -> None:
    model = make_model()
    optimizer, _ = make(model)

    def closure() -> Tensor:
        loss = model(draw(5, 3, 4, 4, seed=0)).square().mean()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > 0
    assert set(optimizer.state_dict()) == {"state", "param_groups"}


def test_a_closure_that_zeroes_the_gradients_zeroes_all_of_them() -> None:
    """As Lightning's does. Were the gradients of hidden weights added up over the steps, Muon would hardly learn."""
    by_closure, by_hand = make_model(), make_model()
    optimizer, other = make(by_closure)[0], make(by_hand)[0]
    for step in range(3):
        x, y = draw(5, 3, 4, 4, seed=step), draw(5, 4, seed=100 + step)

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = (by_closure(x) - y).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        other.zero_grad()
        (by_hand(x) - y).square().mean().backward()
        other.step()
    for a, b in zip(by_closure.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(a, b)


def test_groups_without_hidden_weights_are_refused() -> None:
    with pytest.raises(InputError, match=r"parameter_groups\(module\)"):
        MuonAdamW(make_model().parameters())
