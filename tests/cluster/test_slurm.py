"""Runs as jobs of a real SLURM: sweeps, several tasks, jobs that are stopped and go on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cluster.slurm import Cluster, until
from runs.harness import TINY, assert_same_weights, command

from ssl_lightning.runs.folder import RunFolder

pytestmark = pytest.mark.slurm

PRETRAIN = (sys.executable, "-m", "ssl_lightning.pretrain")
RUN = (*TINY, "callbacks=minimal", "trainer.max_epochs=20")
"""A run that takes some seconds: 140 steps, a checkpoint after every 7."""
WITH_WORKERS = (*RUN, "data.num_workers=1")
SWEEP = (*PRETRAIN, "-m", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_per_cpu=1G")
"""The command of a sweep, as on any cluster but for the small node."""


def undisturbed(folder: Path, *overrides: str) -> Path:
    """The folder of a run without SLURM."""
    done = command("pretrain", *overrides, f"hydra.run.dir={folder}", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


def results(folder: Path) -> dict:
    return json.loads(RunFolder(folder).results.read_text())


def folders(sweep: Path) -> list[str]:
    return sorted(path.name for path in sweep.iterdir() if path.is_dir() and not path.name.startswith("."))


def logs(sweep: Path) -> str:
    return "\n".join(file.read_text() for file in sorted(sweep.glob(".submitit/*/*_log.*")))


def in_training(folder: Path) -> None:
    until(RunFolder(folder).last.exists, f"the first checkpoint of {folder}", 120)


def test_a_sweep_is_an_array_of_jobs(cluster: Cluster, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    cluster.run(*SWEEP, f"hydra.sweep.dir={sweep}", *TINY, "seed=1,2", cwd=tmp_path, timeout=120)
    assert folders(sweep) == ["0", "1"]
    assert [results(sweep / job)["provenance"]["seed"] for job in "01"] == [1, 2]
    assert [results(sweep / job)["status"] for job in "01"] == ["finished"] * 2
    assert logs(sweep).count("Job completed successfully") == 2


def test_one_job_of_an_array_is_signalled_requeues_itself_and_the_sweep_waits(cluster: Cluster, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    whole = undisturbed(tmp_path / "whole", *RUN, "seed=2")
    with subprocess.Popen(
        [*SWEEP, f"hydra.sweep.dir={sweep}", *WITH_WORKERS, "seed=1,2"], env=cluster.environment, cwd=tmp_path
    ) as process:
        for job in "01":
            in_training(sweep / job)
        submitted = next(sweep.glob(".submitit/*_0")).name.removesuffix("_0")
        # The very one whose plain id is that of the array. To all its processes, as SLURM does it before a time limit.
        cluster.run("scancel", "--signal=USR2", f"{submitted}_1")
        assert process.wait(120) == 0
    assert folders(sweep) == ["0", "1"]
    assert [cluster.job(f"{submitted}_{job}")["Restarts"] for job in "01"] == ["0", "1"]
    assert_same_weights(whole, sweep / "1")
    assert "Traceback" not in logs(sweep)


def test_a_job_that_is_signalled_before_its_training_starts_again_too(cluster: Cluster, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    with subprocess.Popen(
        [*SWEEP, f"hydra.sweep.dir={sweep}", *TINY, "seed=1"], env=cluster.environment, cwd=tmp_path
    ) as process:
        until((sweep / "0").exists, "the start of the job")  # torch is not even imported
        job = next(sweep.glob(".submitit/[0-9]*")).name
        cluster.run("scancel", "--signal=USR2", job)
        assert process.wait(120) == 0
    assert cluster.job(job)["Restarts"] == "1"
    assert "(resumed at step" not in logs(sweep)
    assert results(sweep / "0")["status"] == "finished"


def test_tasks_of_a_job_are_one_run_and_requeued_in_the_middle_it_ends_with_the_same_weights(
    cluster: Cluster, tmp_path: Path
) -> None:
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    script = f"""
#SBATCH --nodes=1 --ntasks-per-node=2 --cpus-per-task=1 --mem-per-cpu=1G
#SBATCH --time=4:00:00 --signal=USR1@180 --requeue --open-mode=append
srun --cpus-per-task=$SLURM_CPUS_PER_TASK --kill-on-bad-exit=1 {" ".join((*PRETRAIN, *WITH_WORKERS, *ddp))}
"""
    whole, stopped = (cluster.submit(script, tmp_path, "--dependency=singleton") for _ in range(2))
    folder = {job: tmp_path / "outputs" / "simclr_digits" / f"job_{job}.0" for job in (whole, stopped)}
    in_training(folder[stopped])
    cluster.run("scontrol", "requeue", stopped)
    for job, restarts in ((whole, "0"), (stopped, "1")):
        ended = cluster.wait(job)
        output = (tmp_path / f"{job}.out").read_text()
        assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", restarts), output
        assert results(folder[job])["provenance"]["devices"] == 2
        assert ("(resumed at step" in output) == (job == stopped)
    assert sorted(path.name for path in (tmp_path / "outputs" / "simclr_digits").iterdir()) == sorted(
        path.name for path in folder.values()
    )
    assert_same_weights(folder[whole], folder[stopped])


def test_the_time_limit_requeues_a_job_as_often_as_it_may(cluster: Cluster, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    limit = ("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=10", "max_requeues=1")
    long = (*TINY, "callbacks=minimal", "trainer.max_epochs=100000")
    done = subprocess.run(
        [*SWEEP, f"hydra.sweep.dir={sweep}", *limit, *long, "seed=1"],
        env=cluster.environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "was started 1 times again, as often as max_requeues allows; resume it with" in done.stderr
    assert logs(sweep).count("(resumed at step") == 1
    assert results(sweep / "0")["status"] == "stopped"


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("hydra.launcher.partition=nowhere", "SLURM does not take the job: invalid partition specified: nowhere"),
        ("+hydra.launcher.walltime=1", "hydra.launcher has no key walltime; options of sbatch are"),
    ],
)
def test_what_slurm_does_not_know_is_one_line(cluster: Cluster, tmp_path: Path, option: str, line: str) -> None:
    done = subprocess.run(
        [*SWEEP, option, *TINY, "seed=1"],
        env=cluster.environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"ssl-pretrain: {line}" in done.stderr.splitlines()[-1]
