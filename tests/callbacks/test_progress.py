"""What a user sees while a training runs."""

import json
from pathlib import Path

from runs.harness import TINY, command

SLOW = """
import time
from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.image.digits import digits


class Slow(ImageDataset):
    def __getitems__(self, rows):
        time.sleep(0.05)
        return super().__getitems__(rows)


def slow_digits(root="", split="pretrain", copies: int = 1):
    made = digits(copies=copies)
    made.__class__ = Slow
    return made
"""


def test_a_training_that_waits_for_its_data_says_so(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    source = "data.source._target_=slow.slow_digits"
    options = ("callbacks=minimal", "callbacks.progress.every_n_seconds=0", "trainer.log_every_n_steps=2")
    for made, waits in ((("trust=slow", source), True), ((), False)):
        folder = tmp_path / ("slow" if waits else "fast")
        done = command(
            "pretrain", *TINY, *options, *made, "trainer.max_epochs=1", f"hydra.run.dir={folder}", cwd=tmp_path
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        measured = json.loads((folder / "results.json").read_text())["metrics"]["time/data_wait_fraction"]
        assert (measured > 0.1) == waits
        assert (f"waits for data {measured:.0%} of the time (data.num_workers)" in done.stdout) == waits
