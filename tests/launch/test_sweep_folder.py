"""Sweeps as a user starts them: they survive failing jobs, kills and Ctrl-C, and go on where they were."""

import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from runs.harness import TINY, command, start_process, train
from runs.warm import Command

from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.errors import InputError
from ssl_lightning.launch.environment import run_folder
from ssl_lightning.launch.jobs import run_jobs
from ssl_lightning.launch.local_launcher import environment, local_jobs
from ssl_lightning.launch.optuna_search import Search
from ssl_lightning.launch.sweep_folder import resumed_arguments, save_sweep
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import RunFolder, quoted

ALONE = (*TINY, "callbacks=minimal", "objective=train/loss")
LONG = (*ALONE, "trainer.max_epochs=6", "callbacks.progress.every_n_seconds=0")
SIDE_BY_SIDE = ("-m", *LONG, "seed=1,2", "hydra/launcher=local", "hydra.sweep.dir=sweep")


def stored_objective(folder: Path, name: str) -> float | None:
    """The last value of a metric of a run, if it is finished."""
    results = RunFolder(folder).read_results()
    return results["metrics"].get(name) if results.get("status") == "finished" else None


def read_until(process: subprocess.Popen | Command, *words: str) -> None:
    """Reads what a command says up to lines that hold the words, one after the other."""
    for word in words:
        said = ""
        while word not in said:
            ended = process.poll() is not None
            said = process.stdout.readline()
            assert said or not ended, f"ended without saying '{word}': {process.stderr.read()}"
            if not said:
                time.sleep(0.01)


def left(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each file below a folder was written, and what is in it."""
    return {str(f): (f.stat().st_mtime_ns, f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file()}


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (read_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"] for folder in (one, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def jobs(sweep: Path) -> list[str]:
    return sorted(folder.name for folder in sweep.iterdir() if (folder / ".hydra").is_dir())


def failures(result: subprocess.CompletedProcess) -> list[str]:
    return [line for line in result.stderr.splitlines() if ") failed: " in line]


def test_a_failing_job_is_told_and_takes_no_other_down(tmp_path):
    result = command("pretrain", "-m", *ALONE, "method=simclr,moco", "data.batch_size=60", cwd=tmp_path)
    assert result.returncode == 1
    (failure,) = failures(result)
    assert failure.startswith("ssl-pretrain: job 1 (method=moco) failed: a device's batch of 60 does not divide")
    assert "Traceback" not in result.stderr
    (sweep,) = (tmp_path / "multirun").iterdir()
    assert result.stderr.splitlines()[-1].endswith(
        f"1 of 2 jobs failed; try them again with: ssl-pretrain resume_sweep={sweep}"
    )
    assert jobs(sweep) == ["0", "1"]
    assert stored_objective(sweep / "0", "train/loss") > 0
    assert stored_objective(sweep / "1", "train/loss") is None
    assert "1 configs, by training loss (lower is better)" in result.stdout
    assert f"next  ssl-report {sweep}" in result.stdout
    shown = command("report", sweep.name, cwd=sweep.parent)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "failed after" in shown.stdout
    assert {"report.html", "report.md"} <= {file.name for file in sweep.iterdir()}


def test_a_killed_sweep_goes_on_with_what_is_not_finished(tmp_path):
    running = Command("pretrain", "-m", *LONG, "seed=1,2,3", "hydra.sweep.dir=sweep", cwd=tmp_path)
    read_until(running, "sweep/1", "step 9/")
    running.kill()
    running.communicate(timeout=60)
    before = left(tmp_path / "sweep/0")
    assert jobs(tmp_path / "sweep") == ["0", "1"]
    assert read_checkpoint(tmp_path / "sweep/1/checkpoints/last.ckpt")["global_step"] < 42
    result = command("pretrain", "resume_sweep=sweep", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "sweep/0 is already finished: train/loss = " in result.stdout
    assert "sweep/1 (resumed at step " in result.stdout
    assert left(tmp_path / "sweep/0") == before
    assert jobs(tmp_path / "sweep") == ["0", "1", "2"]
    for number, seed in enumerate((1, 2, 3)):
        whole = train(tmp_path / f"whole{seed}", *LONG, f"seed={seed}")
        assert_same_weights(whole.path, tmp_path / "sweep" / str(number))


@pytest.mark.slow
def test_ctrl_c_stops_jobs_side_by_side_and_they_go_on(tmp_path):
    running = start_process(
        "pretrain", "-m", *LONG, "seed=1,2", "hydra/launcher=local", "hydra.sweep.dir=sweep", cwd=tmp_path
    )
    read_until(running, "job 1 (seed=2) writes")
    logs = [tmp_path / f"sweep/{number}/output.log" for number in (0, 1)]
    while not all("step 20/" in log.read_text() for log in logs):
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert f"resume it with: ssl-pretrain resume_sweep={tmp_path / 'sweep'}" in said
    assert "Traceback" not in said
    for log in logs:
        assert log.read_text().count("stopped after step") == 1
    result = command("pretrain", "resume_sweep=sweep", "hydra.launcher.threads=1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert all("(resumed at step " in log.read_text() for log in logs)
    for number, seed in enumerate((1, 2)):
        whole = train(tmp_path / f"whole{seed}", *LONG, f"seed={seed}")
        assert_same_weights(whole.path, tmp_path / "sweep" / str(number))


@pytest.mark.slow
def test_a_job_that_is_killed_takes_no_other_with_it_side_by_side(tmp_path):
    running = start_process(
        "pretrain", "-m", *LONG, "seed=1,2", "hydra/launcher=local", "hydra.sweep.dir=sweep", cwd=tmp_path
    )
    log = tmp_path / "sweep/0/output.log"
    while not log.exists() or "step 1/" not in log.read_text():
        assert running.poll() is None
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert f"job 0 (seed=1) failed: it was ended by SIGKILL; see {log}" in said
    assert stored_objective(tmp_path / "sweep/1", "train/loss") > 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)


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
    before = left(tmp_path / "sweep/0")
    result = command("pretrain", "resume_sweep=sweep", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert left(tmp_path / "sweep/0") == before
    assert jobs(tmp_path / "sweep") == ["0", "1", "2", "3"]
    ours, theirs = (OmegaConf.load(folder / "optimization_results.yaml") for folder in (tmp_path / "sweep", searched))
    assert ours == theirs
    for number in "0123":
        assert_same_weights(tmp_path / "sweep" / number, searched / number)


def test_the_same_search_again_repeats_nothing_and_refuses_other_settings(searched):
    before = {number: left(searched / number) for number in "0123"}
    journal = searched / "study.log"
    journal.write_bytes(journal.read_bytes()[: journal.stat().st_size // 2])
    arguments = [*SEARCH, f"hydra.sweep.dir={searched}"]  # sweep=optuna is a multirun also without -m
    result = command("pretrain", *arguments, "sweep.n_trials=4", cwd=searched)
    assert result.returncode == 0, result.stderr
    assert "best of 4 trials" in result.stdout
    assert {number: left(searched / number) for number in "0123"} == before
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


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["-m", "sweep=optuna"], "sweep=optuna has nothing to search; give a key a range"),
        (
            ["-m", "sweep=optuna", "seed=1,2", "sweep.sampler=tpee"],
            "sweep.sampler=tpee should be 'tpe', 'gp' or 'random'",
        ),
        (["-m", "sweep=optuna", "seed=1,2", "sweep.n_trials=0"], "sweep.n_trials=0 should be greater than 0"),
        (["-m", "seed=range(0,0)"], "no run is left to start: one of seed=range(0,0) has no value"),
        (["-m", "sweep=optuna", "seed=int(interval(9,1))"], "seed=int(interval(9,1)) is not a range"),
        (["-m", "sweep=optuna", *ALONE, "objective=train/los", "seed=1,2"], "objective=train/los was not logged by"),
        (["-m", "seed=1,2", "hydra/launcher=local", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0"),
        (["-m", "sweep=optun"], "there is no sweep 'optun'; did you mean optuna?"),
        (["resume_sweep=nowhere"], "there is no sweep at nowhere"),
        (
            ["resume_sweep=old", "seed=3"],
            "resume_sweep= keeps the overrides of its sweep; start a new sweep for seed=3",
        ),
    ],
)
def test_a_wrong_sweep_gets_one_line(tmp_path, arguments, answer):
    stored(tmp_path / "old", task=["seed=1,2"])
    result = command("pretrain", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("ssl-pretrain: ")]
    assert answer in line


def test_a_search_without_optuna_says_what_to_install(tmp_path):
    result = command("pretrain", "-m", "sweep=optuna", "seed=1,2", cwd=tmp_path, without=("optuna",))
    assert result.returncode == 2
    assert "sweep=optuna needs the package optuna: pip install 'ssl-lightning[sweep]'" in result.stderr


def stored(folder: Path, task: list[str], hydra: list[str] | None = None, name: str = "pretrain") -> Path:
    """A folder as a sweep leaves it, but for its jobs."""
    overrides = {"hydra": hydra or [], "task": task}
    folder.mkdir()
    OmegaConf.save(
        OmegaConf.create({"hydra": {"overrides": overrides, "job": {"config_name": name}}}), folder / "multirun.yaml"
    )
    return folder


def test_a_sweep_is_gone_on_with_as_it_was_started(tmp_path):
    hydra = ["hydra.mode=MULTIRUN", "hydra.sweep.dir=elsewhere", "hydra/launcher=local", "hydra.launcher.n_jobs=2"]
    folder = stored(tmp_path / "it's", ["seed=1,2", "~logger", "+data.extra=1"], hydra)
    quoted = "'" + str(folder).replace("'", "\\'") + "'"
    assert resumed_arguments(str(folder), ["hydra.launcher.n_jobs=4", "-m"]) == [
        "-m", "hydra.launcher.n_jobs=4", "hydra/launcher=local", "seed=1,2", "~logger", "+data.extra=1",
        f"hydra.sweep.dir={quoted}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "override",
    [
        "hydra.searchpath=[file:///theirs]",
        "hydra.callbacks.one._target_=os.system",
        "+hydra.callbacks.one={_target_: os.system}",
        "hydra={callbacks: {one: {_target_: os.system}}}",
        "hydra/launcher=../../theirs",
        "method=../../theirs",
        "method@hydra.callbacks.one=simclr",
        "hydra.launcher.setup=['rm -r /']",
        "hydra.job.env_set.LD_PRELOAD=theirs",
        "hydra.sweeper.params={hydra.searchpath: theirs}",
        "hydra.sweep.subdir=/etc",
        "--config-dir=/theirs",
        "+experiment@_global_=../../theirs",
        "+data@_global_.hydra.callbacks.one=../../theirs",
        "+hydra.sweeper.params.experiment=../../theirs",
        "seed=${oc.${r}:theirs}",
    ],
)
def test_a_folder_has_no_say_in_what_hydra_runs(tmp_path, override):
    for number, lists in enumerate(({"task": [override]}, {"task": [], "hydra": [override]})):
        with pytest.raises(InputError, match="which is not taken from a folder"):
            resumed_arguments(str(stored(tmp_path / str(number), **lists)), [])


@pytest.mark.parametrize(
    ("made", "answer"),
    [
        (lambda folder: folder.mkdir(), "is not the folder of a sweep: it holds no multirun.yaml"),
        (lambda folder: (folder / ".hydra").mkdir(parents=True) or (folder / ".hydra/config.yaml").touch(), "resume="),
        (
            lambda folder: folder.mkdir() or (folder / "multirun.yaml").write_text("a: ["),
            "is not the config of a sweep",
        ),
        (lambda folder: folder.mkdir() or (folder / "multirun.yaml").write_text("- a"), "is not the config of a sweep"),
        (lambda folder: stored(folder, [], name="evaluate"), "is a sweep of ssl-evaluate"),
    ],
)
def test_what_is_no_sweep_is_said_to_be_none(tmp_path, made, answer):
    made(tmp_path / "folder")
    with pytest.raises(InputError, match=answer):
        resumed_arguments(str(tmp_path / "folder"), [])


class Sweep:
    """What `run_jobs` needs of a sweeper: Hydra's own launcher, each job a call of `task`."""

    def __init__(self, folder: Path | None, task: Any, *overrides: str) -> None:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            wanted = [*overrides, "hydra.mode=MULTIRUN"] + ([f"hydra.sweep.dir={quoted(folder)}"] if folder else [])
            self.config = loader.load_configuration("pretrain", wanted, RunMode.MULTIRUN)
            self.hydra_context = HydraContext(config_loader=loader, callbacks=Callbacks())
            self.launcher = task and Plugins.instance().instantiate_launcher(
                hydra_context=self.hydra_context, task_function=task, config=self.config
            )


def test_jobs_have_numbers_and_folders_and_a_failing_one_ends_no_other(tmp_path):
    seen = []

    def task(config: DictConfig) -> float:
        seen.append((Path(HydraConfig.get().runtime.output_dir).name, config.seed))
        if seen[-1][0] == "4":
            raise ValueError("boom\nand more")
        return config.optimizer.lr

    wanted = [["seed=${hydra:job.num}", "objective=train/loss", f"optimizer.lr={number}"] for number in (3, 4, 5)]
    done = run_jobs(Sweep(tmp_path, task), wanted, first=3)
    assert seen == [("3", 3), ("4", 4), ("5", 5)]
    assert [job.value for job in done] == [3, None, 5]
    assert [job.folder for job in done] == [tmp_path / name for name in "345"]
    assert done[1].error == "ValueError: boom"
    assert done[1].name == "job 4 (optimizer.lr=4)"


def test_a_local_job_is_the_command_with_its_own_words_and_folder(tmp_path):
    sweep = Sweep(tmp_path / "it's", None, "hydra/launcher=local", "hydra.launcher.n_jobs=3", "method=moco")
    first, second = local_jobs(sweep, [["seed=1"], ["seed=2"]], 5)
    quoted = "'" + str(tmp_path / "it's" / "6").replace("'", "\\'") + "'"
    assert second.arguments[-5:] == [
        "seed=2", "hydra.mode=RUN", f"hydra.run.dir={quoted}", "hydra.job.num=6", "hydra.job.id='6'",
    ]  # fmt: skip
    assert "hydra.launcher.n_jobs=3" in second.arguments
    assert (first.name, first.config.seed) == ("job 5 (seed=1)", 1)
    assert first.log == tmp_path / "it's" / "5" / "output.log"


def test_a_folder_holds_one_sweep(tmp_path):
    def sweep(*overrides: str) -> DictConfig:
        return OmegaConf.create({"hydra": {"overrides": {"task": list(overrides)}}})

    save_sweep(sweep("seed=1,2", "sweep.n_trials=3"), tmp_path / "sweep")
    save_sweep(sweep("sweep.n_trials=5", "seed=1,2"), tmp_path / "sweep")
    with pytest.raises(InputError, match=r"holds a sweep of seed=1,2, not seed=3; give another hydra\.sweep\.dir"):
        save_sweep(sweep("seed=3"), tmp_path / "sweep")


def test_jobs_side_by_side_share_gpus_and_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    def given(devices: object, gpus: list[str], slots: int = 2, threads: int | None = None) -> list[str | None]:
        config = OmegaConf.create({"trainer": {"devices": devices}})
        made = [environment(config, slot, slots, threads, gpus) for slot in range(slots)]
        assert {one["OMP_NUM_THREADS"] for one in made} == {
            str(threads or 8 // slots // (devices if isinstance(devices, int) else 1))
        }
        return [one.get("CUDA_VISIBLE_DEVICES") for one in made]

    assert given(1, []) == [None, None]
    assert given(1, ["4", "5"]) == ["4", "5"]
    assert given(1, ["4", "5"], slots=3) == ["4", "5", "4"]
    assert given(2, ["0", "1", "2", "3"]) == ["0,1", "2,3"]
    assert given("auto", ["0", "1"], threads=3) == [None, None]
    with pytest.raises(InputError, match="there are 2 GPUs here"):
        given(4, ["0", "1"])


def search(folder: Path, *typed: str) -> Search:
    """A search as a sweeper makes it."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        typed = ("sweep=optuna", f"hydra.sweep.dir={folder}", *typed)
        config = compose("pretrain", list(typed), return_hydra_config=True)
    overrides = OverridesParser.create().parse_overrides(["optimizer.lr=interval(1e-4,1e-2)"])
    return Search(SimpleNamespace(config=config, direction=config.sweep.direction, sampler="tpe", seed=0), overrides)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda content: content + b'{"other": 1}\n',
        lambda content: content + b"\xff\xfe\0\0\n",
        lambda content: b"[]\n" + content,
        lambda content: content[100:],
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


def test_a_sweep_runs_once_at_a_time(tmp_path):
    with RunFolder(tmp_path / "sweep").locked():
        for kind in (("optimizer.lr=1,2",), ("sweep=optuna", "optimizer.lr=interval(1,2)")):
            second = command("pretrain", "-m", *kind, "hydra.sweep.dir=sweep", cwd=tmp_path)
            assert second.returncode == 2
            assert "another process trains in" in second.stderr


def test_sweeps_of_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
    folders = {str(Sweep(None, None).config.hydra.sweep.dir) for _ in range(3)}
    assert len(folders) == 3
    assert all((tmp_path / folder).is_dir() for folder in folders)


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
