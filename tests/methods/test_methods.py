"""What holds for every method; a new file in conf/method/ is tested by itself."""

from pathlib import Path

import pytest
import torch
from methods.recipe import METHODS, compose_method, fit, make_batch, make_method, network_input, seeded_loss
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.queue import Queue
from ssl_lightning.randomness import seed_generators

OWN_TEACHER = ("distil_mlm",)
"""Methods whose teacher learns by itself."""
pytestmark = pytest.mark.parametrize("name", METHODS)


def trained(method: Method) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in method.named_parameters() if p.requires_grad}


def teacher_of(state: dict[str, Tensor], method: Method) -> dict[str, Tensor]:
    """Weights in a state dict of the teacher that follows its student; empty where there is none."""
    followers = (name for name, p in method.named_parameters() if name.startswith("teacher.") and not p.requires_grad)
    return {name: state[name] for name in followers}


def test_loss_and_gradients(name: str) -> None:
    method = make_method(name)
    result = seeded_loss(method, make_batch(name))
    assert result["loss"].shape == ()
    assert result["loss"].isfinite()
    result["loss"].backward()
    for key, p in trained(method).items():
        assert p.grad is not None, key
        assert p.grad.isfinite().all(), key
    assert any(p.grad.any() for p in trained(method).values() if p.grad is not None)
    assert name in OWN_TEACHER or not any(key.startswith("teacher.") for key in trained(method))
    assert all(p.grad is None for p in method.parameters() if not p.requires_grad)


def test_what_a_loss_returns(name: str) -> None:
    method = make_method(name)
    batch = make_batch(name)
    result = method.loss(batch)
    assert result["embedding"].shape == (16, method(network_input(batch)).shape[1])
    assert not result["embedding"].requires_grad
    assert all(value.shape == () for key, value in result.items() if key != "embedding")


def test_the_transform_gives_what_the_method_reads(name: str) -> None:
    assert set(type(make_method(name)).requires) <= set(make_batch(name))
    assert compose_method(name).method._target_.endswith(f".{type(make_method(name)).__name__}")


def test_the_batch_stays_as_it_is(name: str) -> None:
    batch, again = make_batch(name), make_batch(name)
    make_method(name).loss(batch)
    for key, value in again.items():
        found = batch[key]
        pairs = zip(found, value, strict=True) if isinstance(value, list) else [(found, value)]
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_loss_in_evaluation_changes_nothing(name: str) -> None:
    method = make_method(name).eval()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    with torch.no_grad():
        first, second = (seeded_loss(method, make_batch(name, B=11))["loss"] for _ in range(2))
    assert first.isfinite()
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    method.train().loss(make_batch(name))
    method.after_step(0.0)  # nothing of the evaluation is left over for it
    assert pushed(method) in (0, 16)


def pushed(method: Method) -> int:
    return sum(int(module.pointer) for module in method.modules() if isinstance(module, Queue))


def test_bf16_autocast(name: str) -> None:
    method = make_method(name)
    batch = make_batch(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.loss(batch)["loss"]
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained(method).values())
    method.after_step(0.0)
    assert all(value.isfinite().all() for value in method.state_dict().values())


def test_same_seed_same_loss(name: str) -> None:
    losses = []
    for _ in range(2):
        seed_generators(3, 3)
        losses.append(make_method(name).loss(make_batch(name))["loss"])
    assert torch.equal(*losses)


def test_what_a_method_draws_is_shared_by_ranks(name: str) -> None:
    """It draws from `shared_generator`; the global one, which differs between ranks, is for dropout alone."""
    method, batch = make_method(name).eval(), make_batch(name)
    state = torch.get_rng_state()
    method.loss(batch)
    assert torch.equal(torch.get_rng_state(), state)


def test_fewer_updates_with_accumulation(name: str, tmp_path: Path) -> None:
    """Weights, teacher and queue move once per optimizer step, the teacher along the way to the student."""
    method = make_method(name, lr=0.5)
    batches = [make_batch(name, seed=seed) for seed in range(4)]
    states = fit(method, batches, tmp_path, accumulate_grad_batches=2)
    assert method.total_steps == 2
    kept = [*trained(method), *teacher_of(states[0], method), *(k for k in states[0] if k.endswith(".pointer"))]
    for before, after, stepped in zip(states, states[1:], (False, True, False, True), strict=False):
        changed = [key for key in kept if not torch.equal(before[key], after[key])]
        assert (len(changed) > len(kept) / 2) == stepped
        assert stepped or not changed
    fractions = [way(method, states[0], states[2]), way(method, states[2], states[4])]
    if fractions[0] is not None:
        assert fractions[0] == pytest.approx(1 - method.momentum, rel=1e-3)
        assert 0 < fractions[1] <= fractions[0] * 1.001


def way(method: Method, before: dict[str, Tensor], after: dict[str, Tensor]) -> float | None:
    """The fraction of the way to the student that the teacher went, which must be the same for all its weights."""
    old, new = teacher_of(before, method), teacher_of(after, method)
    if not old:
        return None
    parts = (key for key, _ in method.named_parameters() if "." in key and not key.startswith("teacher."))
    student = dict(zip(old, (after[key] for key in parts), strict=False))
    moved = torch.cat([(new[key] - old[key]).flatten() for key in old]).double()
    apart = torch.cat([(student[key] - old[key]).flatten() for key in old]).double()
    fraction = float(moved @ apart / (apart @ apart))
    torch.testing.assert_close(moved, fraction * apart, atol=1e-6, rtol=1e-3)
    return fraction


def test_an_open_end_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set trainer.max_epochs or trainer.max_steps"):
        fit(make_method(name), [make_batch(name)], tmp_path, max_epochs=-1)


def test_compiled_parts_are_the_networks(name: str) -> None:
    method = make_method(name)
    names = list(method.state_dict())
    method.compile_parts()
    assert list(method.state_dict()) == names
    for child in method.children():
        assert (child._compiled_call_impl is not None) == any(True for _ in child.parameters())
