"""Each optimizer with each schedule, as composed from conf/."""

import io
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from ssl_lightning.config.choices import load_choice
from ssl_lightning.optim.groups import parameter_groups

CONFIG_DIR = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("schedule", sorted(path.stem for path in (CONFIG_DIR / "schedule").glob("[!_]*.yaml")))
@pytest.mark.parametrize("optimizer", sorted(path.stem for path in (CONFIG_DIR / "optimizer").glob("[!_]*.yaml")))
def test_a_step_and_a_safe_checkpoint(optimizer: str, schedule: str) -> None:
    model = nn.Linear(3, 2)
    built = instantiate(load_choice("optimizer", optimizer))(parameter_groups(model))
    scheduler = instantiate(load_choice("schedule", schedule))(built, 10, 5)
    before = model.weight.detach().clone()
    model(torch.ones(1, 3)).square().sum().backward()
    built.step()
    scheduler.step()
    assert not torch.equal(model.weight, before)
    file = io.BytesIO()
    torch.save([built.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    built.load_state_dict(torch.load(file, weights_only=True)[0])
