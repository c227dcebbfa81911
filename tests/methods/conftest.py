import pytest

from ssl_lightning.randomness import seed_generators


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    seed_generators(0, 0)
