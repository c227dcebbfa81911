"""Two processes of a machine: one prepares the data, both wait for it, and each reads its checkpoint once."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import torch
from launch.test_killed import CORPUS, TEXT
from runs.harness import train
from runs.warm import start

from ssl_lightning.data.text.datamodule import TextDataModule
from ssl_lightning.runs.folder import RunFolder

OPTIONS = ("method=mlm", *CORPUS, *TEXT, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


def _recorded(owner: Any, name: str, log: Path, seconds: float = 0) -> None:
    """Lets every call of a function write its begin and its end to a file that all processes share."""
    original = getattr(owner, name)

    def recording(*args: Any, **kwargs: Any) -> Any:
        with log.open("a") as file:
            print(os.environ["RANK"], name, "begins", file=file, flush=True)
            result = original(*args, **kwargs)
            time.sleep(seconds)
            print(os.environ["RANK"], name, "ends", file=file, flush=True)
        return result

    setattr(owner, name, recording)


def _rank(folder: Path, environment: dict[str, str], steps: tuple[int, ...]) -> None:
    os.environ.update(environment)
    log = folder.with_suffix(".log")
    _recorded(TextDataModule, "prepare_data", log, 1)
    _recorded(TextDataModule, "setup", log)
    _recorded(torch, "load", log)
    for count in steps:
        train(folder, *OPTIONS, f"trainer.max_steps={count}", *((f"resume={folder}",) if count > steps[0] else ()))


def in_two_processes(folder: Path, *steps: int) -> list[str]:
    """What the processes of a run did that is trained to so many steps, and resumed for more; rank, what, whether."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "NODE_RANK": "0"}
    processes = []
    for rank in ("0", "1"):
        environment = {**shared, "WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank, "SSL_CACHE": str(folder.parent)}
        processes.append(start(_rank, folder, environment, steps))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return folder.with_suffix(".log").read_text().splitlines()


def test_one_process_prepares_and_each_reads_its_checkpoint_once(tmp_path: Path) -> None:
    done = in_two_processes(tmp_path / "run", 2, 4)
    assert RunFolder(tmp_path / "run").read_results()["timing"]["steps"] == 4
    assert not any(line.startswith("1 prepare_data") for line in done)
    first = done.index("1 setup begins")
    assert done.index("0 prepare_data ends") < first  # it waited, a second at least
    assert done.count("0 load ends") == done.count("1 load ends") == 1
