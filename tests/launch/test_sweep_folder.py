"""Sweeps as a user starts them: they survive failing jobs, kills and Ctrl-C, and go on where they were."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from launch.sweeps import ALONE, failures, jobs, stored_objective
from omegaconf import DictConfig, OmegaConf
from runs.harness import assert_same_weights, command, files_below, read_until, start_process, train
from runs.warm import Command

from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.errors import InputError
from ssl_lightning.launch.environment import run_folder
from ssl_lightning.launch.jobs import run_jobs
from ssl_lightning.launch.local_launcher import environment, local_jobs
from ssl_lightning.launch.sweep_folder import resumed_arguments, save_sweep
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import RunFolder, quoted

LONG = (*ALONE, "trainer.max_epochs=4", "callbacks.progress.every_n_seconds=0")
SIDE_BY_SIDE = ("-m", *LONG, "seed=1,2", "hydra/launcher=local", "hydra.sweep.dir=sweep")


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
    assert "1 config, by training loss (lower is better)" in result.stdout
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
    before = files_below(tmp_path / "sweep/0")
    assert jobs(tmp_path / "sweep") == ["0", "1"]
    assert read_checkpoint(tmp_path / "sweep/1/checkpoints/last.ckpt")["global_step"] < 28
    result = command("pretrain", "resume_sweep=sweep", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "sweep/0 is already finished: train/loss = " in result.stdout
    assert "sweep/1 (resumed at step " in result.stdout
    assert files_below(tmp_path / "sweep/0") == before
    assert jobs(tmp_path / "sweep") == ["0", "1", "2"]
    for number, seed in ((1, 2), (2, 3)):
        whole = train(tmp_path / f"whole{seed}", *LONG, f"seed={seed}")
        assert_same_weights(whole.path, tmp_path / "sweep" / str(number))


@pytest.mark.slow
def test_ctrl_c_stops_jobs_side_by_side_and_they_go_on(tmp_path):
    running = start_process("pretrain", *SIDE_BY_SIDE, cwd=tmp_path)
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
    running = start_process("pretrain", *SIDE_BY_SIDE, cwd=tmp_path)
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


def test_a_sweep_runs_once_at_a_time(tmp_path):
    with RunFolder(tmp_path / "sweep").locked():
        for kind in (("optimizer.lr=1,2",), ("sweep=optuna", "optimizer.lr=interval(1,2)")):
            second = command("pretrain", "-m", *kind, "hydra.sweep.dir=sweep", cwd=tmp_path)
            assert second.returncode == 2
            assert "another process works in" in second.stderr


def test_sweeps_of_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
    folders = {str(Sweep(None, None).config.hydra.sweep.dir) for _ in range(3)}
    assert len(folders) == 3
    assert all((tmp_path / folder).is_dir() for folder in folders)
