"""W&B as a real client that writes real files, read back."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from runs.harness import TINY, command, train
from runs.warm import start

from ssl_lightning.loggers.wandb import log_evaluation
from ssl_lightning.runs.folder import RunFolder

OPTIONS = (
    *TINY,
    "callbacks.probe.linear_samples=20",
    "callbacks.health.every_n_steps=4",
    "callbacks.pictures.points=50",
    "logger=wandb",
    "logger.wandb.mode=offline",
)


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


def of_kind(records: list, kind: str) -> list:
    return [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]


def updated(records: list, kind: str) -> dict:
    """All keys of the config or the summary, each with its last value."""
    items = [item for record in of_kind(records, kind) for item in record.update]
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_a_tracked_sweep_says_what_each_run_is_and_how_it_compares(tmp_path):
    run = tmp_path / "multirun" / "0"
    options = ("logger.wandb.log_model=true", "hydra.sweep.dir=multirun")
    sweep = command("pretrain", "-m", "seed=0,1", *OPTIONS, *options, cwd=tmp_path)
    assert sweep.returncode == 0, sweep.stderr
    assert "wandb sync" in sweep.stdout  # where to find it
    records, results = wandb_records(run), json.loads((run / "results.json").read_text())

    shown = of_kind(records, "run")[-1]
    assert shown.run_id == (run / "wandb_id").read_text()
    assert (shown.display_name, shown.job_type, shown.run_group) == ("simclr digits seed=0", "pretrain", "multirun")
    assert set(shown.tags) == {"simclr", "digits", "image"}

    config = updated(records, "config")
    assert (config["method"], config["data"], config["backbone"]) == ("simclr", "digits", "convnet")
    assert (config["seed"], config["method/temperature"], config["modality"]) == (0, 0.2, "image")
    assert config["provenance/packages/torch"] == results["provenance"]["packages"]["torch"]
    assert config["provenance/git_commit"] == results["provenance"]["git_commit"]
    assert config["provenance/hardware"] == results["provenance"]["hardware"]

    axes = {metric.name or metric.glob_name: metric.step_metric for metric in of_kind(records, "metric")}
    assert axes == {"trainer/global_step": "", "*": "trainer/global_step"}
    written = history(records)
    for name in ("train/loss", "val/loss", "probe/knn_accuracy", "health/embedding_std", "epoch"):
        assert written[name][-1] == pytest.approx(results["metrics"][name])
    for name in ("views", "curves", "embedding"):
        assert f"figures/{name}" in {"/".join(key.split("/")[:2]) for key in written}

    summary = updated(records, "summary")
    last, control = (results[part]["probe/knn_accuracy"] for part in ("metrics", "controls"))
    assert summary["probe/knn_accuracy"] == pytest.approx(last)
    assert summary["untrained/probe/knn_accuracy"] == pytest.approx(control)
    assert summary["gain/probe/knn_accuracy"] == pytest.approx(last - control)
    assert summary["best/probe/knn_accuracy"] == pytest.approx(max(written["probe/knn_accuracy"]))
    assert summary["best/val/loss"] == pytest.approx(min(written["val/loss"]))
    assert summary["status"] == "finished"

    (files,) = run.glob("wandb/offline-run-*/files")
    (table,) = files.glob("media/table/*.json")
    rows = {row[0]: row[1:] for row in json.loads(table.read_text())["data"]}
    best = max(written["probe/knn_accuracy"])
    assert rows["probe/knn_accuracy"] == pytest.approx([last, best, control, last - control])
    assert json.loads((files / "results.json").read_text()) == results
    model = next(artifact for artifact in of_kind(records, "artifact") if artifact.type == "model")
    assert {entry.path for entry in model.manifest.contents} == {
        ".hydra/config.yaml",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
    }

    other = of_kind(wandb_records(tmp_path / "multirun" / "1"), "run")[-1]
    assert other.run_id == (tmp_path / "multirun" / "1" / "wandb_id").read_text() != shown.run_id
    assert other.display_name == "simclr digits seed=1"


def test_a_run_that_began_untracked_is_tracked_from_a_resume_on_and_keeps_its_id(tmp_path):
    train(tmp_path / "run", *TINY, "callbacks=minimal", "trainer.max_epochs=1")
    for epochs, logger in ((2, OPTIONS[-2:]), (3, ())):
        again = command("pretrain", "resume=run", f"trainer.max_epochs={epochs}", *logger, cwd=tmp_path)
        assert again.returncode == 0, again.stderr
    run = tmp_path / "run"
    assert len(list(run.glob("wandb/offline-run-*"))) == 2
    records = wandb_records(run)
    assert {shown.run_id for shown in of_kind(records, "run")} == {(run / "wandb_id").read_text()}
    assert next(of for of in of_kind(records, "run") if of.display_name).display_name == "simclr digits seed=0"
    assert max(history(records)["trainer/global_step"]) == 21
    assert updated(records, "config")["method"] == "simclr"


def test_an_evaluation_joins_the_run_of_its_training(tmp_path):
    (tmp_path / "wandb_id").write_text("abcd1234")
    figure = tmp_path / "evaluation.png"
    Image.new("RGB", (8, 8)).save(figure)
    results = {"metrics": {"probe/knn_accuracy": 0.75}, "controls": {"probe/knn_accuracy": 0.5}}
    settings = {"_target_": "x", "folder": "y", "project": "photos", "mode": "offline"}
    logging = start(log_evaluation, RunFolder(tmp_path), settings, results, [figure])
    logging.join()  # as where `ssl-evaluate` ends: then W&B's files are whole
    assert logging.exitcode == 0
    records = wandb_records(tmp_path)
    shown = of_kind(records, "run")[-1]
    assert (shown.run_id, shown.project) == ("abcd1234", "photos")
    summary = updated(records, "summary")
    assert summary["evaluate/gain/probe/knn_accuracy"] == 0.25
    assert summary["evaluate/evaluation/_type"] == "images/separated"
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/evaluate/*.json")
    assert json.loads(table.read_text())["data"] == [["probe/knn_accuracy", 0.75, 0.5]]


def test_without_a_login_one_line_says_what_to_do(tmp_path):
    home = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "WANDB_API_KEY": "", "WANDB_MODE": "online"}
    refused = command("pretrain", *OPTIONS[:-1], cwd=tmp_path, **{**os.environ, **home})
    assert refused.returncode == 2
    assert refused.stderr.strip() == "ssl-pretrain: W&B is not logged in: wandb login, or logger.wandb.mode=offline"
    assert not (tmp_path / "outputs").exists()
