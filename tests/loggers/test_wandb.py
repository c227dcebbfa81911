"""W&B as a real client that writes real files, read back."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs.harness import TINY, command, train

from ssl_lightning.errors import InputError
from ssl_lightning.loggers.wandb import WandbLogger, log_evaluation
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
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert files
    return [record for file in files for record in parsed(file)]


def parsed(file: Path) -> list:
    from wandb.proto import wandb_internal_pb2

    return [wandb_internal_pb2.Record.FromString(data) for data in log_records(file.read_bytes())]


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
    model = next(artifact for artifact in of_kind(records, "artifact") if artifact.type == "model")
    assert {entry.path for entry in model.manifest.contents} == {
        ".hydra/config.yaml",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
    }

    other = of_kind(wandb_records(tmp_path / "multirun" / "1"), "run")[-1]
    assert other.run_id == (tmp_path / "multirun" / "1" / "wandb_id").read_text() != shown.run_id
    assert other.display_name == "simclr digits seed=1"
    check_that_its_evaluation_joins(run, shown.run_id)
    check_that_a_report_joins(run.parent)


def check_that_its_evaluation_joins(run: Path, run_id: str) -> None:
    """Table, pictures and summary of `ssl-evaluate` in a second offline file of the same W&B run."""
    trained = set(run.glob("wandb/offline-run-*"))
    done = command("evaluate", f"run={run}", "labels=[10]", "draws=2", "finetune=true", "finetune_steps=1", cwd=run)
    assert done.returncode == 0, done.stderr
    (folder,) = set(run.glob("wandb/offline-run-*")) - trained
    (file,) = folder.glob("run-*.wandb")
    records, results = parsed(file), json.loads((run / "evaluate" / "results.json").read_text())
    shown = of_kind(records, "run")[-1]
    assert (shown.run_id, shown.display_name) == (run_id, "")  # which leaves the name as it is
    summary = updated(records, "summary")
    accuracy, control = (results[part]["probe/knn_accuracy"] for part in ("metrics", "controls"))
    assert summary["evaluate/probe/knn_accuracy"] == pytest.approx(accuracy)
    assert summary["evaluate/gain/probe/knn_accuracy"] == pytest.approx(accuracy - control)
    assert {"evaluate/protocol", "evaluate/finetune/accuracy", "evaluate/probe/linear_accuracy_10"} <= summary.keys()
    assert {"evaluate/evaluation/_type", "evaluate/confusion/_type"} <= summary.keys()
    (table,) = folder.glob("files/media/table/evaluate/*.json")
    content = json.loads(table.read_text())
    assert content["columns"] == ["run", "metric", "this run", "low", "high", "untrained encoder", "raw input"]
    rows = {row[1]: row for row in content["data"]}
    figures = [results["metrics"][f"probe/knn_accuracy{end}"] for end in ("", "_low", "_high")]
    raw = results["raw"]["probe/knn_accuracy"]
    assert rows["probe/knn_accuracy"] == ["simclr digits seed=0", "probe/knn_accuracy", *figures, control, raw]
    assert not any(name.endswith(("_low", "_high")) for name in rows)


def check_that_a_report_joins(sweep: Path) -> None:
    """The leaderboard as a table of numbers, and its page, in a further offline file of each run."""
    before = set(sweep.glob("*/wandb/offline-run-*"))
    done = command("report", str(sweep), "wandb=true", "metrics=[probe/knn_accuracy]", cwd=sweep)
    assert done.returncode == 0, done.stderr
    results = [json.loads((sweep / seed / "results.json").read_text()) for seed in "01"]
    means = [sum(run[part]["probe/knn_accuracy"] for run in results) / 2 for part in ("metrics", "controls")]
    added = set(sweep.glob("*/wandb/offline-run-*")) - before
    assert {folder.parents[1].name for folder in added} == {"0", "1"}
    for folder in added:
        (file,) = folder.glob("run-*.wandb")
        assert of_kind(parsed(file), "run")[-1].run_id == (folder.parents[1] / "wandb_id").read_text()
        (table,) = folder.glob("files/media/table/report/*.json")
        content = json.loads(table.read_text())
        assert content["columns"][2:4] == ["probe/knn_accuracy", "untrained/probe/knn_accuracy"]
        assert content["data"][0][1] == 2
        assert content["data"][0][2:4] == pytest.approx(means)
        (page,) = folder.glob("files/media/html/report/*.html")
        assert "<html" in page.read_text().lower() or "<!doctype" in page.read_text().lower()


def test_a_report_of_runs_that_are_not_tracked_cannot_be(tmp_path):
    train(tmp_path / "run", *TINY, "callbacks=minimal", "trainer.max_epochs=1")
    done = command("report", "run", "wandb=true", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == "ssl-report: wandb=true: none of these runs was tracked; train with logger=wandb"


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


def test_an_evaluation_is_not_sent_to_a_stranger(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    results = {"metrics": {}, "controls": {}}
    log_evaluation(RunFolder(tmp_path), {"entity": "stranger", "mode": "offline"}, results, "run", [], "evaluate")
    assert "the evaluation is not tracked: if stranger is yours, set WANDB_ENTITY to it" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_without_a_login_one_line_says_what_to_do(tmp_path):
    home = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "WANDB_API_KEY": "", "WANDB_MODE": "online"}
    refused = command("pretrain", *OPTIONS[:-1], cwd=tmp_path, **{**os.environ, **home})
    assert refused.returncode == 2
    assert refused.stderr.strip() == "ssl-pretrain: W&B is not logged in: wandb login, or logger.wandb.mode=offline"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("settings", "identity", "line"),
    [
        ({"tags": ["x" * 65]}, "abc", "Tags must be between 1 and 64 characters"),
        ({}, "../abc", "Run ID cannot contain the characters"),
        ({"project": "a/b"}, "abc", "Invalid project name"),
    ],
)
def test_what_the_client_refuses_is_one_line(tmp_path, settings, identity, line):
    (tmp_path / "wandb_id").write_text(identity)
    with pytest.raises(InputError, match=f"W&B refuses logger.wandb, or the run's file wandb_id: .*{line}") as refused:
        _ = WandbLogger(str(tmp_path), mode="offline", **settings).experiment
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("*.wandb"))
