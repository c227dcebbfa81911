"""Kill-anywhere: a run that is killed again and again, and resumed, ends as one that was never disturbed."""

import csv
import json
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from launch.killing import PLACES, run
from methods.recipe import CONFIG_DIR, METHODS, compose_method, known
from runs.harness import WATCHED, train
from runs.warm import processes_of, until
from torch import Tensor

from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("one_penalty")

STEPS = ("callbacks.checkpoint.every_n_steps=3",)
IMAGES = (*WATCHED, "callbacks.probe.times=2")
CORPUS = (
    "data=text_files",
    f"data.root={CONFIG_DIR.parent}",
    "data.source.files=ssl_lightning/data/text/*.py",
    "data.source.split_on=blank_line",
    "data.tokenizer.vocab_size=512",
)
"""A few pages of the package's own source: read and split into tokens in no time."""
TEXT = (
    "trainer=cpu",
    "backbone.width=16",
    "backbone.layers=2",
    "backbone.heads=2",
    "data.length=32",
    "data.batch_size=16",
    "trainer.max_steps=14",
    "trainer.log_every_n_steps=2",
    "callbacks.health.every_n_steps=4",
    "callbacks.pictures=null",
)
SOUND = (
    "backbone.layers=1",
    "backbone.heads=2",
    "backbone.intermediate_size=16",
    "backbone.conv_dim=[4,4,4,4,4]",
    "data.source.speakers=10",
)
SMALL = {
    **dict.fromkeys(("wav2vec2", "data2vec_audio"), SOUND),
    "hubert": (*SOUND, "method.clusters=8"),
    "moco": ("method.queue_size=128", "method.bn_splits=2"),
    "byol": ("method.out_dim=16",),
    **dict.fromkeys(
        ("mae", "simmim", "ijepa", "moco_v3", "dino", "data2vec"), ("backbone.layers=1", "backbone.heads=2")
    ),
    "dinov2": ("backbone.layers=1", "backbone.heads=2", "method.prototypes=64"),
    "wmse": ("method.out_dim=16", "method.group_size=32"),
    "next_frame": ("data.source.copies=1", "data.fraction=0.25", "backbone.hidden_dim=16", "backbone.depth=1"),
    "colorization": ("backbone.stem_stride=2",),
    **dict.fromkeys(
        ("clip", "siglip"),
        ("data.source.images.copies=1", "method.text_backbone.width=16", "method.text_backbone.heads=2"),
    ),
}
"""What makes a method small enough for the tiny run, beside its hidden width."""


def reads_text(method: str) -> bool:
    return compose_method(method).data._target_.endswith(".TextDataModule")


QUICK = {("simclr", 1), ("moco", 2), ("mlm", 1)}
CASES = [
    pytest.param(method, size, marks=() if (method, size) in QUICK else pytest.mark.slow)
    for method in METHODS
    for size in (1, 2)
]
"""An image and a text method, and a queue in two processes; all others are slow tests."""


def overrides(method: str, world_size: int = 1) -> tuple[str, ...]:
    several = ("trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={world_size}") if world_size > 1 else ()
    return (
        f"method={method}",
        *((*CORPUS, *known(method, TEXT)) if reads_text(method) else known(method, IMAGES)),
        *STEPS,
        *several,
        *SMALL.get(method, ()),
    )


def state(folder: Path) -> dict[str, Any]:
    """All of a run that must not depend on how often it was killed."""
    run_folder = RunFolder(folder)
    checkpoint = read_checkpoint(run_folder.last)
    with run_folder.metrics.open(newline="") as file:
        rows = [{k: v for k, v in row.items() if v and not k.startswith("time/")} for row in csv.DictReader(file)]
    results = json.loads(run_folder.results.read_text())
    return {
        "weights": checkpoint["state_dict"],
        "optimizer": checkpoint["optimizer_states"],
        "schedule": checkpoint["lr_schedulers"],
        "step": checkpoint["global_step"],
        "rows": rows,
        "metrics": {k: v for k, v in results["metrics"].items() if not k.startswith("time/")},
        "controls": results["controls"],
        "status": results["status"],
        "best": read_checkpoint(run_folder.best)["global_step"] if run_folder.best.exists() else None,
    }


def equal(a: Any, b: Any) -> bool:
    """Bit for bit."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b or (a != a and b != b)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for key, value in expected.items():
        assert equal(found[key], value), key
    steps = [row["step"] for row in found["rows"]]
    assert len(steps) == len(set(steps))


def go_on_until_the_end(folder: Path, kills: list[tuple[str, int]], *options: str, **where: Any) -> int:
    """Runs, killed at each of `kills` in turn; returns how often it was killed."""
    for killed, kill in enumerate([*kills, None]):
        resume = (f"resume={folder}",) if (folder / "checkpoints" / "last.ckpt").exists() else ()
        if run(folder, *options, *resume, kill=kill, **where):
            return killed
    raise AssertionError("the run did not end although it was not killed")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """The state of a run of a method that nothing disturbs, trained once for all that is compared with it."""

    @cache
    def trained(method: str, world_size: int = 1, more: tuple[str, ...] = ()) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("undisturbed") / "run"
        assert run(folder, *overrides(method, world_size), *more, world_size=world_size)
        return state(folder)

    return trained


@pytest.mark.parametrize(("method", "world_size"), CASES)
def test_killed_at_any_place(tmp_path: Path, undisturbed: Any, method: str, world_size: int) -> None:
    options = overrides(method, world_size)
    draw = random.Random(f"{method} {world_size}")
    kills = [(place, draw.randint(1, 3)) for place in draw.sample(sorted(PLACES), len(PLACES) // world_size)]
    assert go_on_until_the_end(tmp_path / "killed", kills, *options, world_size=world_size) >= 1
    assert_same(state(tmp_path / "killed"), undisturbed(method, world_size))


def test_killed_with_workers_and_accumulation(tmp_path: Path, undisturbed: Any) -> None:
    more = ("data.num_workers=2", "trainer.accumulate_grad_batches=2")
    options = (*overrides("moco"), *more)
    kills = [("in a step", 2), ("in validation", 1)]
    assert go_on_until_the_end(tmp_path / "killed", kills, *options) == 2
    assert_same(state(tmp_path / "killed"), undisturbed("moco", more=more))
    until(lambda: processes_of(tmp_path) == [], 20)  # nor do workers of a killed run stay


ALWAYS = ("callbacks.checkpoint.every_n_steps=1",)
"""A checkpoint at every step, also where a validation or the end of an epoch or of the run follows."""


@pytest.mark.parametrize(
    ("method", "more", "kills"),
    [
        (  # the run ends in the middle of an epoch
            "simclr",
            (*ALWAYS, "trainer.max_epochs=null", "trainer.max_steps=9"),
            [("in a probe", 2), ("in a step", 2), ("in a probe", 1), ("in what ends a training", 1)],
        ),
        (  # masks are drawn in the loss
            "mae",
            (*ALWAYS, "trainer.val_check_interval=2", "trainer.accumulate_grad_batches=2"),
            [("in validation", 1), ("before metrics are saved", 2), ("in a probe", 1)],
        ),
    ],
)
def test_killed_where_a_checkpoint_falls_on_a_validation_or_the_end_of_an_epoch(
    tmp_path: Path, undisturbed: Any, method: str, more: tuple[str, ...], kills: list[tuple[str, int]]
) -> None:
    assert go_on_until_the_end(tmp_path / "killed", kills, *overrides(method), *more) == len(kills)
    assert_same(state(tmp_path / "killed"), undisturbed(method, more=more))


STOPPED_EARLY = (
    *ALWAYS,
    "+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping",
    "+callbacks.stop.monitor=val/loss",
    "+callbacks.stop.patience=1",
    "+callbacks.stop.min_delta=10.0",
    "trainer.max_epochs=6",
)


def test_a_run_that_early_stopping_ends_ends_there_although_it_is_killed(tmp_path: Path, undisturbed: Any) -> None:
    folder, options = tmp_path / "killed", (*overrides("simclr"), *STOPPED_EARLY)
    assert go_on_until_the_end(folder, [("in what ends a training", 2)], *options) == 1
    expected = undisturbed("simclr", more=STOPPED_EARLY)
    assert expected["step"] == 14
    assert_same(state(folder), expected)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of SimCLR that was killed after its second checkpoint."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    assert not run(folder, *overrides("simclr"), kill=("in a step", 8))
    return folder


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(
    tmp_path: Path, capfd: Any, undisturbed: Any, killed: Path, damage: str
) -> None:
    folder = Path(shutil.copytree(killed, tmp_path / "killed"))
    last = folder / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    last.write_bytes(content)
    train(folder, *overrides("simclr"), f"resume={folder}")
    told = [line for line in capfd.readouterr().out.splitlines() if "is damaged" in line]
    assert len(told) == 1
    assert "resuming from previous.ckpt" in told[0]
    assert_same(state(folder), undisturbed("simclr"))
