import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run side by side; more threads than cores would only wait for each other."""
    torch.set_num_threads(1)
