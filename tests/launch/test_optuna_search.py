"""Searches with Optuna: what was tried is not tried again, and what is damaged begins anew."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from composition import whole
from hydra.core.override_parser.overrides_parser import OverridesParser
from launch.sweeps import ALONE, failures, jobs, stored_objective
from omegaconf import OmegaConf
from runs.harness import TINY, assert_same_weights, command, files_below, read_until, start_process

from ssl_lightning.launch.optuna_search import Search

SEARCH = (
    *TINY, "sweep=optuna", "callbacks.probe=null", "callbacks.pictures=null", "callbacks.health.every_n_steps=4",
    "optimizer.lr=tag(log,interval(1e-4,1e-2))", "method.hidden_dim=16,32", "objective=health/effective_rank",
)  # fmt: skip


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    """A whole search of 4 trials for the highest effective rank, which needs no labels."""
    folder = tmp_path_factory.mktemp("searched")
    result = command("pretrain", "-m", *SEARCH, "sweep.n_trials=4", "hydra.sweep.dir=sweep", cwd=folder)
    assert result.returncode == 0, result.stderr
    best = OmegaConf.load(folder / "sweep/optimization_results.yaml")
    ranks = [stored_objective(folder / "sweep" / str(number), "health/effective_rank") for number in range(4)]
    assert best.best_value == max(ranks)
    assert best.best_trial == ranks.index(max(ranks))
    assert 1e-4 <= best.best_params["optimizer.lr"] <= 1e-2
    assert f"best of 4 trials: health/effective_rank = {max(ranks):.5g} with method.hidden_dim=" in result.stdout
    assert (folder / "sweep/figures/search.png").stat().st_size > 1000
    assert "4 configs, by effective rank (higher is better)" in result.stdout
    return folder / "sweep"


@pytest.mark.slow
def test_a_search_that_was_killed_finds_what_an_undisturbed_one_finds(tmp_path, searched):
    running = start_process("pretrain", "-m", *SEARCH, "sweep.n_trials=4", "hydra.sweep.dir=sweep", cwd=tmp_path)
    read_until(running, "trial 0: ", "sweep/1")
    running.kill()
    running.communicate(timeout=60)
    before = files_below(tmp_path / "sweep/0")
    result = command("pretrain", "resume_sweep=sweep", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert files_below(tmp_path / "sweep/0") == before
    assert jobs(tmp_path / "sweep") == ["0", "1", "2", "3"]
    ours, theirs = (OmegaConf.load(folder / "optimization_results.yaml") for folder in (tmp_path / "sweep", searched))
    assert ours == theirs
    for number in "0123":
        assert_same_weights(tmp_path / "sweep" / number, searched / number)


def test_the_same_search_again_repeats_nothing_and_refuses_other_settings(searched):
    before = {number: files_below(searched / number) for number in "0123"}
    journal = searched / "study.log"
    journal.write_bytes(journal.read_bytes()[: journal.stat().st_size // 2])
    arguments = [*SEARCH, f"hydra.sweep.dir={searched}"]  # sweep=optuna is a multirun also without -m
    result = command("pretrain", *arguments, "sweep.n_trials=4", cwd=searched)
    assert result.returncode == 0, result.stderr
    assert "best of 4 trials" in result.stdout
    assert {number: files_below(searched / number) for number in "0123"} == before
    result = command("pretrain", *arguments, "seed=5", cwd=searched)
    assert result.returncode == 2
    assert f"{searched} holds a sweep of " in result.stderr
    result = command("pretrain", *arguments, "sweep.n_trials=4", "sweep.direction=minimize", cwd=searched)
    assert result.returncode == 2
    assert f"{searched} holds a sweep of " in result.stderr


def test_failed_trials_do_not_end_a_search(tmp_path):
    result = command(
        "pretrain", "-m", "sweep=optuna", *ALONE, "method=moco", "data.batch_size=64,60", "sweep.sampler=random",
        "sweep.seed=5", "sweep.n_trials=2", "sweep.direction=minimize", "hydra/launcher=local", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (failure,) = failures(result)
    assert "job 0 (data.batch_size=60) failed: a device's batch of 60 does not divide" in failure
    assert "best of 1 trials: train/loss = " in result.stdout


def test_a_search_without_optuna_says_what_to_install(tmp_path):
    result = command("pretrain", "-m", "sweep=optuna", "seed=1,2", cwd=tmp_path, without=("optuna",))
    assert result.returncode == 2
    assert "sweep=optuna needs the package optuna: pip install 'ssl-lightning[sweep]'" in result.stderr


def search(folder: Path, *typed: str) -> Search:
    """A search as a sweeper makes it."""
    config = whole("sweep=optuna", f"hydra.sweep.dir={folder}", *typed)
    overrides = OverridesParser.create().parse_overrides(["optimizer.lr=interval(1e-4,1e-2)"])
    return Search(SimpleNamespace(config=config, direction=config.sweep.direction, sampler="tpe", seed=0), overrides)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda content: content + b'{"other": 1}\n',
        lambda content: content + b"\xff\xfe\0\0\n",
        lambda content: b"[]\n" + content,
        lambda content: content[100:],
        lambda content: content + b"[" * 10**5 + b"\n",
        lambda content: content + b'{"op_code": 99, "worker_id": "x"}\n',
    ],
)
def test_a_damaged_study_begins_anew(tmp_path, capsys, damaged):
    study = search(tmp_path).study
    for value in (1.0, 2.0):
        study.tell(study.ask(), value)
    journal = tmp_path / "study.log"
    journal.write_bytes(damaged(journal.read_bytes()))
    assert search(tmp_path).study.get_trials() == []
    assert capsys.readouterr().out.count(f"warning: {journal} is damaged") == 1
    assert (tmp_path / "study.damaged").is_file()


def test_a_study_with_trials_of_other_ranges_begins_anew(tmp_path, capsys):
    """A journal from a stranger may hold any value as a choice, and Hydra would load it."""
    import optuna

    study = search(tmp_path).study
    study.ask({"optimizer.lr": optuna.distributions.CategoricalDistribution(["../../evil"])})
    assert search(tmp_path).study.get_trials() == []
    assert "is of other ranges" in capsys.readouterr().out


def test_a_study_goes_on_behind_a_line_that_was_cut(tmp_path, capsys):
    study = search(tmp_path).study
    study.tell(study.ask(), 1.0)
    study.tell(study.ask(), 2.0)
    journal = tmp_path / "study.log"
    journal.write_bytes(journal.read_bytes()[:-30])
    study = search(tmp_path).study
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "RUNNING"]
    study.tell(1, 3.0)
    assert [trial.value for trial in search(tmp_path).study.get_trials()] == [1.0, 3.0]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("typed", "direction"),
    [
        (["method=mlm"], "minimize"),
        (["method=simclr"], "maximize"),
        (["method=simclr", "objective=train/loss"], "minimize"),
        (["method=mlm", "sweep.direction=maximize"], "maximize"),
    ],
)
def test_a_search_goes_where_its_objective_is_better(tmp_path, typed, direction):
    assert search(tmp_path, *typed).study.direction.name.lower() == direction
