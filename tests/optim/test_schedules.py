import math
from collections.abc import Callable

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from ssl_lightning.errors import InputError
from ssl_lightning.optim.schedules import constant, linear, momentum_cosine, warmed, warmup_cosine


def rates(schedule: Callable[..., LambdaLR], steps: int, **settings: float) -> list[float]:
    """Rates of the first `steps` optimizer steps at a base rate of 2."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = schedule(optimizer, **settings)
    out = []
    for _ in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


def test_cosine_from_full_to_final() -> None:
    got = rates(warmup_cosine, 13, total_steps=10, steps_per_epoch=5, final_fraction=0.1)
    expected = [2 * (0.1 + 0.45 * (1 + math.cos(math.pi * step / 10))) for step in range(11)]
    assert got == pytest.approx([*expected, 0.2, 0.2])


def test_warmup_rises_evenly_then_the_cosine_starts_at_the_full_rate() -> None:
    got = rates(warmup_cosine, 13, total_steps=12, steps_per_epoch=4, warmup_epochs=1)
    assert got[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert got[8] == pytest.approx(1.0)
    assert got[12] == pytest.approx(0.0)


@pytest.mark.parametrize("schedule", [warmup_cosine, constant])
def test_warmup_in_epochs_and_in_steps_agree(schedule: Callable[..., LambdaLR]) -> None:
    in_epochs = rates(schedule, 12, total_steps=12, steps_per_epoch=4, warmup_epochs=1.5)
    assert in_epochs == rates(schedule, 12, total_steps=12, steps_per_epoch=4, warmup_steps=6)


@pytest.mark.parametrize("schedule", [warmup_cosine, constant])
def test_warmup_may_fill_the_run(schedule: Callable[..., LambdaLR]) -> None:
    assert rates(schedule, 5, total_steps=4, steps_per_epoch=4, warmup_epochs=1)[:4] == pytest.approx(
        [0.4, 0.8, 1.2, 1.6]
    )


def test_constant() -> None:
    assert rates(constant, 4, total_steps=3, steps_per_epoch=1) == [2.0] * 4
    assert rates(constant, 4, total_steps=3, steps_per_epoch=1, warmup_steps=1) == [1.0, 2.0, 2.0, 2.0]


def test_a_schedule_resumes_where_it_stood() -> None:
    whole = rates(warmup_cosine, 10, total_steps=10, steps_per_epoch=1, warmup_steps=3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    first = warmup_cosine(optimizer, 10, 1, warmup_steps=3)
    for _ in range(5):
        optimizer.step()
        first.step()
    again = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    second = warmup_cosine(again, 10, 1, warmup_steps=3)
    again.load_state_dict(optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    rest = []
    for _ in range(5):
        rest.append(again.param_groups[0]["lr"])
        again.step()
        second.step()
    assert rest == whole[5:]


@pytest.mark.parametrize("schedule", [warmup_cosine, constant])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_epochs": 1, "warmup_steps": 2}, "not both"),
        ({"total_steps": 0}, "at least one step"),
    ],
)
def test_wrong_settings_are_named(schedule: Callable[..., LambdaLR], settings: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rates(schedule, 1, **{"total_steps": 10, "steps_per_epoch": 4, **settings})


def test_momentum_goes_from_start_to_end_as_in_byol() -> None:
    byol = [1 - (1 - 0.996) * (math.cos(math.pi * k / 100) + 1) / 2 for k in range(101)]
    assert [momentum_cosine(k / 100, 0.996, 1.0) for k in range(101)] == pytest.approx(byol, abs=1e-15)
    assert momentum_cosine(0.0, 0.9, 0.99) == pytest.approx(0.9)
    assert momentum_cosine(1.0, 0.9, 0.99) == momentum_cosine(2.5, 0.9, 0.99) == 0.99
    assert momentum_cosine(0.07, 0.99, 0.99) == 0.99


def test_a_run_shorter_than_its_warmup_is_all_warmup() -> None:
    got = rates(warmup_cosine, 3, total_steps=3, steps_per_epoch=10, warmup_epochs=1)
    assert got == pytest.approx([2 / 4, 4 / 4, 6 / 4])


@pytest.mark.parametrize(("progress", "value"), [(0.0, 2.0), (0.25, 3.0), (1.0, 6.0), (4.0, 6.0)])
def test_a_line_ends_where_it_ends(progress: float, value: float) -> None:
    assert linear(progress, 2.0, 6.0) == value


@pytest.mark.parametrize(
    ("epoch", "epochs", "value"), [(0, 4, 2.0), (1, 4, 3.0), (4, 4, 6.0), (9, 4, 6.0), (1, 0, 6.0)]
)
def test_a_warmup_of_a_value_lasts_its_epochs(epoch: float, epochs: float, value: float) -> None:
    assert warmed(epoch, epochs, (2.0, 6.0)) == value
