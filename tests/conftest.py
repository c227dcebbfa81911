import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from runs.harness import ONE_PENALTY

from ssl_lightning.evaluation.protocol import PROTOCOLS

_LONG = (
    "launch/test_killed",
    "launch/test_sweep_folder",
    "launch/test_optuna_search",
    "launch/test_local_ranks",
    "launch/test_fsdp",
    "test_own_code",
    "test_commands",
    "loggers/test_wandb",
    "commands/test_pretrain",
    "commands/test_evaluate",
    "test_python_api",
    "commands/test_suite",
    "commands/test_export_encoder",
    "commands/test_sound",
    "callbacks/test_unlabeled",
)
"""Files whose tests take seconds each, the longest first."""
_COMPOSED = ("test_pairs", "test_configs", "test_experiments")
"""Files whose tests ask for the same configs: those of one choice follow each other, in one process."""


def pytest_configure() -> None:
    """Runs of a test hang up as in a terminal, even where `nohup` started the tests."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Imported packages are a million objects, which the garbage collector would visit again and again."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests begin first: the last one would leave all workers but its own with nothing to do."""
    tests = Path(__file__).parent
    place = {tests / f"{name}.py": number for number, name in enumerate(_LONG)}

    def order(item: pytest.Item) -> tuple[int, str]:
        if item.path.stem not in _COMPOSED:
            return place.get(item.path, len(place)), ""
        return len(place) + 1, item.callspec.id.rpartition("-")[2] if hasattr(item, "callspec") else ""

    items.sort(key=order)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run side by side; more threads than cores would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _hydra_as_it_was() -> Iterator[None]:
    """Commands that run in this process leave their config behind, those of a fixture too."""
    HydraConfig.instance().cfg = None
    yield
    HydraConfig.instance().cfg = None


@pytest.fixture
def one_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear probes of this process choose no penalty: a seventh of the fits, and rounding cannot change the choice."""
    monkeypatch.setitem(PROTOCOLS, "v1", ONE_PENALTY)


@pytest.fixture(autouse=True, scope="session")
def _no_process_is_left_behind() -> Iterator[None]:
    """Whatever the tests started has ended with them, but for what ends with this very process."""
    mark = f"SSL_TESTS_{os.getpid()}"
    os.environ[mark] = "1"  # which all that is started has in its environment
    yield
    end = time.monotonic() + 20
    while (left := _processes_with(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def _processes_with(mark: str) -> list[str]:
    """Command lines of the processes that have `mark` in their environment."""
    daemons = {str(child.pid) for child in multiprocessing.active_children() if child.daemon}
    ours = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            marked = f"{mark}=".encode() in (place / "environ").read_bytes()
            command = (place / "cmdline").read_bytes().decode().replace("\0", " ")
            serves = place.name in ours and "from multiprocessing." in command  # the fork server, and what tracks it
            if marked and not serves and place.name not in daemons:
                found.append(f"{place.name} {command}")
    return found
