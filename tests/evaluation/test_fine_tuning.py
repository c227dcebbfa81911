from dataclasses import replace

import torch
from torch import Tensor, nn

from ssl_lightning.evaluation.fine_tuning import FineTuning, classes

RECIPE = FineTuning(rates=(1e-2,), min_steps=60, batch_size=16)


class Parity(nn.Module):
    """Whether two bits are equal: what no linear probe of the input can tell."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 32), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def points(count: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return x, (x.prod(dim=1) > 0).long()


def predict(recipe: FineTuning, encoder: nn.Module, seed: int = 0) -> tuple[Tensor, Tensor]:
    x, y = points(200, 0)
    x_test, y_test = points(100, 1)
    model = recipe.fit(encoder, lambda r: x[r], y, torch.arange(200), 2, seed)
    return classes(model, lambda r: x_test[r], torch.arange(100)), y_test


def test_the_encoder_learns_and_stays_as_it_was() -> None:
    torch.manual_seed(0)
    encoder = Parity().eval()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    found, truth = predict(RECIPE, encoder)
    assert (found == truth).float().mean() > 0.9
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert not encoder.training


def test_the_seed_alone_decides() -> None:
    torch.manual_seed(0)
    encoder, state = Parity(), torch.get_rng_state()
    first = predict(RECIPE, encoder)[0]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert torch.equal(first, predict(RECIPE, encoder)[0])


def test_the_better_rate_is_chosen() -> None:
    torch.manual_seed(0)
    encoder = Parity()
    found, truth = predict(replace(RECIPE, rates=(1e-2, 1e-9)), encoder)
    assert torch.equal(found, predict(RECIPE, encoder)[0])
    worse = predict(replace(RECIPE, rates=(1e-9,)), encoder)[0]
    assert (found == truth).sum() > (worse == truth).sum()


def test_what_was_frozen_is_trained_and_stays_frozen() -> None:
    torch.manual_seed(0)
    encoder = Parity()
    free = predict(RECIPE, encoder)[0]
    assert torch.equal(free, predict(RECIPE, encoder.requires_grad_(False))[0])
    assert not any(p.requires_grad for p in encoder.parameters())


def test_a_single_step_is_no_division_by_zero() -> None:
    torch.manual_seed(0)
    found, _ = predict(replace(RECIPE, epochs=1, min_steps=1, max_steps=1), Parity())
    assert found.shape == (100,)
