"""A run leaves what it promises, and can be stopped and resumed."""

import csv
import json
import math
import multiprocessing
import os
import re
import signal
import sys
import time
from functools import cache

import hydra
import pytest
import torch
from hydra.errors import ConfigCompositionException
from launch.test_killed import assert_same, equal, state
from runs.harness import TINY, WATCHED, assert_same_weights, files_below, read_until, train
from runs.warm import Command

from ssl_lightning.cli.command import command as main_of
from ssl_lightning.commands import train as training
from ssl_lightning.errors import InputError, RunFailed, TrainingInterrupted
from ssl_lightning.methods.base import Method
from ssl_lightning.methods.simclr import SimCLR
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.metrics import Metrics
from ssl_lightning.runs.run_summary import RunSummary

pytestmark = pytest.mark.usefixtures("one_penalty")

METHODS = ("simclr", "moco")  # a queue, a teacher and statistics of groups of a batch: all that an observer could touch


def test_a_run_leaves_checkpoints_metrics_results_and_figures(tmp_path, capsys):
    run = train(tmp_path / "run", *TINY, *WATCHED[-3:-1], "callbacks.pictures.points=50")
    said = capsys.readouterr().out
    assert re.search(r"data  digits .*: 462 samples \(\w{12}\), 100 held out\n", said)
    assert "batch  64 over 1 x cpu, 32-true, 126 negatives each\n" in said
    assert "steps  14, 7 an epoch; learning rate 0.002 after 7 of warmup\n" in said
    assert "note  few negatives: a data.batch_size of 128 would help\n" in said
    results = json.loads(run.results.read_text())
    assert set(results) == {"status", "metrics", "controls", "timing", "provenance"}
    assert results["status"] == "finished"
    for name in ("probe/knn_accuracy", "probe/linear_accuracy"):
        assert 0 <= results["controls"][name] <= 1
        assert 0 <= results["metrics"][name] <= 1
    assert {"train/loss", "val/loss", "health/embedding_std", "health/effective_rank", "health/alignment"} <= set(
        results["metrics"]
    )
    assert set(results["timing"]) == {"wall_seconds", "samples_per_second", "steps", "data_wait_fraction"}
    assert results["timing"]["steps"] == 14
    assert set(results["provenance"]) == {
        "git_commit", "packages", "hardware", "precision", "devices", "seed", "config_sha256",
    }  # fmt: skip
    with run.metrics.open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))
    assert {file.name for file in run.figures.iterdir()} == {"views.png", "curves.png", "embedding.png"}
    assert {file.name for file in run.last.parent.iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}


def test_the_rate_is_that_of_training_also_where_an_epoch_is_validated_midway(tmp_path, monkeypatch):
    monkeypatch.setattr(Method, "on_validation_start", lambda self: time.sleep(0.5))
    run = train(tmp_path / "run", *TINY, "trainer.val_check_interval=3", "callbacks=minimal")
    timing = json.loads(run.results.read_text())["timing"]
    assert timing["wall_seconds"] > 2  # at four validations
    assert 14 * 64 / timing["samples_per_second"] < 0.5 * timing["wall_seconds"]
    assert timing["data_wait_fraction"] < 0.5


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_of_a_run_that_is_validated_by_steps(tmp_path, mode):
    by_steps = ("trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=2")
    monitor = ("callbacks.checkpoint.monitor=val/loss", f"callbacks.checkpoint.mode={mode}")
    run = train(tmp_path / "run", *TINY, "callbacks=minimal", *by_steps, *monitor)
    with run.metrics.open() as file:
        losses = {int(row["step"]): float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]}
    assert list(losses) == list(range(2, 15, 2))
    assert read_checkpoint(run.best)["global_step"] == {"min": min, "max": max}[mode](losses, key=losses.get)


def test_a_run_that_was_killed_behind_its_last_checkpoint_can_go_on_further(tmp_path):
    run = train(tmp_path / "run", *TINY, "callbacks=minimal", "trainer.max_epochs=1")
    run.results.write_text('{"status": "running"}')
    train(run.path, *TINY, "callbacks=minimal", f"resume={run.path}")
    assert read_checkpoint(run.last)["global_step"] == 14


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The watched run of a method that nothing stops, trained once."""
    return cache(lambda method: train(tmp_path_factory.mktemp("whole") / "run", *WATCHED, f"method={method}"))


@pytest.mark.parametrize("method", METHODS)
def test_observers_change_no_weight(tmp_path, method, whole):
    watched = whole(method)
    alone = train(tmp_path / "alone", *TINY, f"method={method}", "callbacks=minimal", "trainer.limit_val_batches=0")
    assert_same_weights(watched.path, alone.path)


class StoppingRecord(RunSummary):
    """A run that gets SIGTERM in one of its steps."""

    at = 0

    def on_train_batch_end(self, trainer, *arguments):
        super().on_train_batch_end(trainer, *arguments)
        if trainer.global_step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("method", "step"), [("moco", 3), ("simclr", 7), ("moco", 14)])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, method, step, monkeypatch, whole):
    options = (*WATCHED, f"method={method}")
    with monkeypatch.context() as patch:
        patch.setattr(training, "RunSummary", StoppingRecord)
        patch.setattr(StoppingRecord, "at", step)
        with pytest.raises(TrainingInterrupted, match="resume="):
            train(tmp_path / "stopped", *options)
    stopped = RunFolder(tmp_path / "stopped")
    assert (stopped.read_results()["status"], read_checkpoint(stopped.last)["global_step"]) == ("stopped", step)
    resumed = train(stopped.path, *options, f"resume={stopped.path}")
    assert_same(state(resumed.path), state(whole(method).path))
    ours, theirs = (read_checkpoint(run.best)["state_dict"] for run in (resumed, whole(method)))
    assert equal(ours, theirs)


@pytest.mark.parametrize(
    ("options", "what", "kept"),
    [((), "the loss is not finite at step 9", 7), (("callbacks.checkpoint.every_n_steps=1",), "weights are not", 7)],
)
def test_a_training_that_diverges_fails_and_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, options, what, kept):
    def explode(self, progress):
        if self.step == 7:  # counted from 0
            next(self.parameters()).data.fill_(math.inf)

    monkeypatch.setattr(SimCLR, "after_step", explode)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(
        InputError, match=f"the training diverged: {what}.*its last checkpoint is from before.*try a lower"
    ):
        train(run.path, *WATCHED, *options)
    results, checkpoint = run.read_results(), read_checkpoint(run.last)
    assert (results["status"], checkpoint["global_step"]) == ("failed", kept)
    assert all(weight.isfinite().all() for weight in checkpoint["state_dict"].values())


def test_what_was_measured_of_the_untrained_encoder_is_no_figure_of_the_run(tmp_path):
    run = train(tmp_path / "run", *WATCHED, "callbacks.probe.times=1", "trainer.max_epochs=2")
    metrics = Metrics(run.metrics, step=7)
    assert "probe/knn_accuracy" in metrics.rows[0]
    assert "probe/knn_accuracy" not in metrics.latest
    assert read_checkpoint(run.best)["global_step"] != 7


def test_a_killed_data_worker_is_one_line_that_says_how_to_resume(tmp_path, monkeypatch):
    class KillingRecord(RunSummary):
        def on_train_batch_end(self, trainer, *arguments):
            super().on_train_batch_end(trainer, *arguments)
            if trainer.global_step == 3:
                for worker in multiprocessing.active_children():
                    os.kill(worker.pid, signal.SIGKILL)

    monkeypatch.setattr(training, "RunSummary", KillingRecord)
    run = RunFolder(tmp_path / "run")
    told = f"a data worker was ended from outside.*; resume the run with: ssl-pretrain resume={run.path}"
    with pytest.raises(RunFailed, match=told):
        train(run.path, *SHORT, "data.num_workers=1", "trainer.max_epochs=20")
    assert run.read_results()["status"] == "failed"


def test_what_killed_processes_had_begun_to_write_goes_with_the_next_start(tmp_path):
    run = RunFolder(tmp_path / "run")
    begun = [run.path / ".metrics.csv.123", run.last.parent / ".last.ckpt.45", run.config.parent / ".config.yaml.6"]
    for file in begun:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    train(run.path, *SHORT)
    assert not any(file.exists() for file in begun)


def test_resume_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no checkpoints/last\.ckpt"):
        train(tmp_path / "empty", *TINY, f"resume={tmp_path / 'empty'}")


def test_ctrl_c_before_the_training_leaves_nothing(tmp_path):
    process = Command("pretrain", *WATCHED, cwd=tmp_path)
    read_until(process, "probing the untrained encoder")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(60)
    assert (process.returncode, err) == (130, "ssl-pretrain: stopped\n")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_that_hydra_makes_another_error_of_is_one(monkeypatch):
    def composed(*args, **options):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as stop:
            raise ConfigCompositionException from stop

    monkeypatch.setattr(hydra, "main", lambda **options: composed)
    monkeypatch.setattr(sys, "argv", ["ssl-pretrain"])
    with pytest.raises(SystemExit, match="130"):
        main_of("pretrain")()


SHORT = (*TINY, "callbacks=minimal", "trainer.limit_val_batches=0")


def test_the_same_command_again_returns_what_it_has(tmp_path, capsys):
    run = train(tmp_path / "run", *SHORT, "objective=train/loss")
    before = files_below(run.path)
    for options in ((), ("trainer.num_nodes=1", "data.num_workers=1"), (f"resume={run.path}",)):
        train(run.path, *SHORT, "objective=train/loss", *options)
        loss = json.loads(run.results.read_text())["metrics"]["train/loss"]
        assert f"{run.path} is already finished: train/loss = {loss:.5g}" in capsys.readouterr().out
    assert files_below(run.path) == before


def test_a_stopped_run_resumes_by_the_same_command(tmp_path, capsys, monkeypatch):
    whole = train(tmp_path / "whole", *SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(training, "RunSummary", StoppingRecord)
        patch.setattr(StoppingRecord, "at", 9)
        with pytest.raises(TrainingInterrupted):
            train(tmp_path / "stopped", *SHORT)
    capsys.readouterr()
    resumed = train(tmp_path / "stopped", *SHORT)
    assert "(resumed at step 9)" in capsys.readouterr().out
    assert_same_weights(whole.path, resumed.path)
    ours, theirs = (json.loads(run.results.read_text())["provenance"]["config_sha256"] for run in (whole, resumed))
    assert ours == theirs


def test_a_folder_takes_no_other_run(tmp_path):
    run = train(tmp_path / "run", *SHORT)
    before = files_below(run.path)
    with pytest.raises(InputError, match=r"holds a run of another config: it differs in method\.temperature, seed;"):
        train(run.path, *SHORT, "seed=1", "method.temperature=0.9")
    assert files_below(run.path) == before


def test_a_longer_training_reads_the_checkpoint_once(tmp_path, monkeypatch):
    run = train(tmp_path / "run", *SHORT)
    read, load = [], torch.load

    def counted(file, *args, **kwargs):
        read.append(file)
        return load(file, *args, **kwargs)

    monkeypatch.setattr(torch, "load", counted)
    train(run.path, *SHORT, f"resume={run.path}", "trainer.max_epochs=3")
    assert read == [run.last]
    assert json.loads(run.results.read_text())["timing"]["steps"] == 21
    train(run.path, *SHORT, "trainer.max_epochs=3")  # that is the run now
    assert read == [run.last]


@pytest.mark.parametrize(
    ("option", "answer"),
    [("backbone.width=16", r"last\.ckpt does not fit the model"), ("data.fraction=2", "should be less than")],
)
def test_a_refused_resume_changes_nothing(tmp_path, option, answer):
    run = train(tmp_path / "run", *SHORT)
    before = files_below(run.path)
    with pytest.raises(InputError, match=answer):
        train(run.path, *SHORT, f"resume={run.path}", option)
    assert files_below(run.path) == before
