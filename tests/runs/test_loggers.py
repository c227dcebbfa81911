"""W&B and TensorBoard, as real clients writing real files."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs.harness import TINY, WATCHED, command, train

wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")


def log_records(content: bytes) -> Iterator[bytes]:
    """Records of a W&B file: a header of 7 bytes, then a LevelDB log (blocks of 32 KiB; CRC, length, kind, data)."""
    at, parts = 7, []
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts.append(content[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []


def wandb_records(folder: Path) -> list:
    """All records that W&B's client wrote to its offline files in `folder`, in order."""
    from wandb.proto import wandb_internal_pb2

    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert files
    return [wandb_internal_pb2.Record.FromString(data) for file in files for data in log_records(file.read_bytes())]


def history(records: list) -> dict[str, list]:
    values: dict[str, list] = {}
    for record in records:
        if record.WhichOneof("record_type") == "history":
            for item in record.history.item:
                name = item.key or "/".join(item.nested_key)
                values.setdefault(name, []).append(json.loads(item.value_json))
    return values


def test_wandb_offline_keeps_config_metrics_and_pictures_and_goes_on_under_its_id(tmp_path):
    options = (*TINY, *WATCHED[-3:-1], "callbacks.pictures.points=50", "logger=wandb", "logger.wandb.mode=offline")
    run = tmp_path / "multirun" / "0"
    sweep = command("pretrain", "-m", "seed=0,1", *options, "hydra.sweep.dir=multirun", cwd=tmp_path)
    assert sweep.returncode == 0, sweep.stderr
    written = history(wandb_records(run))
    results = json.loads((run / "results.json").read_text())["metrics"]
    for name in ("train/loss", "val/loss", "probe/knn_accuracy", "health/embedding_std"):
        assert written[name][-1] == pytest.approx(results[name])
    assert (
        written["probe/knn_accuracy"][0]
        == json.loads((run / "results.json").read_text())["controls"]["probe/knn_accuracy"]
    )
    pictures = [name for name in written if name.startswith("figures/")]
    assert {name.split("/")[1] for name in pictures} >= {"views", "curves", "embedding"}

    runs = [r.run for r in wandb_records(run) if r.WhichOneof("record_type") == "run"]
    ids = {r.run_id for r in runs}
    assert ids == {(run / "wandb_id").read_text()}
    assert {r.run_group for r in runs} == {"multirun"}
    updates = [r.config for r in wandb_records(run) if r.WhichOneof("record_type") == "config"]
    config = {item.key or item.nested_key[0]: json.loads(item.value_json) for u in updates for item in u.update}
    assert config["method"]["_target_"] == "ssl_lightning.methods.simclr.SimCLR"
    assert config["seed"] == 0

    other = wandb_records(tmp_path / "multirun" / "1")
    assert (
        {r.run.run_id for r in other if r.WhichOneof("record_type") == "run"}
        == {(tmp_path / "multirun" / "1" / "wandb_id").read_text()}
        != ids
    )

    again = command("pretrain", f"resume={run}", "trainer.max_epochs=3", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    records = wandb_records(run)
    assert {r.run.run_id for r in records if r.WhichOneof("record_type") == "run"} == ids
    assert max(history(records)["trainer/global_step"]) == 21


def test_tensorboard_has_the_curves(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path / "run", *WATCHED, "logger=tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {"train/loss", "val/loss", "probe/knn_accuracy"} <= set(events.Tags()["scalars"])
