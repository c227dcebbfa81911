from collections.abc import Iterator

import pytest
import torch
from hydra.core.hydra_config import HydraConfig


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run side by side; more threads than cores would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _hydra_as_it_was() -> Iterator[None]:
    """Commands that run in this process leave their config behind."""
    yield
    HydraConfig.instance().cfg = None
