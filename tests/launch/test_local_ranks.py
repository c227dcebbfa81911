"""Runs of several processes, as commands: started, stopped, killed, resumed, and never left behind."""

import csv
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launch.test_killed import assert_same, state
from omegaconf import OmegaConf
from runs.harness import WATCHED, command
from runs.warm import Command, processes_of, until

from ssl_lightning.errors import InputError
from ssl_lightning.launch.interrupts import forwarded
from ssl_lightning.launch.local_ranks import processes_to_start

DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", *WATCHED[1:])
"""The tiny watched run in two processes."""


def begin(cwd: Path, *arguments: str) -> Command:
    """`ssl-pretrain`, once it has written its first checkpoint."""
    process = Command("pretrain", *arguments, "hydra.run.dir=run", cwd=cwd)
    until(lambda: (cwd / "run" / "checkpoints" / "last.ckpt").exists() or process.poll() is not None)
    return process


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two jobs of two processes each."""
    folder = tmp_path_factory.mktemp("sweep")
    done = command("pretrain", "-m", "seed=1,2", *DDP, "hydra.sweep.dir=sweep", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert processes_of(folder) == []
    return folder / "sweep"


def test_a_multirun_makes_one_folder_a_job(sweep: Path) -> None:
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == ["0", "1"]
    for seed, job in enumerate(("0", "1"), start=1):
        results = json.loads((sweep / job / "results.json").read_text())
        assert results["status"] == "finished"
        assert results["provenance"]["devices"] == 2
        assert results["provenance"]["seed"] == seed
        assert {"probe/knn_accuracy", "probe/linear_accuracy"} <= set(results["metrics"])


def test_evaluation_counts_each_sample_once(sweep: Path, tmp_path: Path) -> None:
    """The untrained encoder, the same in one process, has the very same accuracies and as many samples."""
    done = command("pretrain", *WATCHED, "seed=1", "trainer.max_epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone, several = (json.loads((run / "results.json").read_text()) for run in (tmp_path / "run", sweep / "0"))
    assert alone["controls"] == several["controls"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_processes_and_the_run_goes_on(sweep: Path, tmp_path: Path, number: int) -> None:
    options = (*DDP, "seed=1", "callbacks.checkpoint.every_n_steps=2")
    process = begin(tmp_path, *options)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert err.strip().splitlines()[-1].startswith("ssl-pretrain: stopped after step")
    assert out.count("stopping after this step") == 2  # each process says so once
    assert processes_of(tmp_path) == []
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "stopped"
    if number == signal.SIGINT:
        assert command("pretrain", "resume=run", cwd=tmp_path).returncode == 0
        assert_same(state(tmp_path / "run"), state(sweep / "0"))


def test_one_process_killed_ends_the_others(tmp_path: Path) -> None:
    options = (*DDP, "callbacks.checkpoint.every_n_steps=2", "trainer.max_epochs=50")
    process = begin(tmp_path, *options)
    run = tmp_path / "run"
    _, victim = sorted({*processes_of(tmp_path)} - {process.pid})  # in the order in which they were started
    os.kill(victim, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = err.strip().splitlines()
    assert line.endswith(f"process 1 of 2 was ended from outside; resume the run with: ssl-pretrain resume={run}")
    until(lambda: processes_of(tmp_path) == [])


def test_the_watching_process_killed_ends_all(tmp_path: Path) -> None:
    process = begin(tmp_path, *DDP, "callbacks.checkpoint.every_n_steps=2", "trainer.max_epochs=50")
    assert len(processes_of(tmp_path)) == 3
    process.kill()
    process.communicate()
    until(lambda: processes_of(tmp_path) == [], 20)


@pytest.mark.parametrize(("numbers", "patience"), [((signal.SIGINT,) * 2, 3), ((signal.SIGHUP,), 0.3)])
def test_a_process_that_cannot_listen_is_killed(numbers: tuple[int, ...], patience: float) -> None:
    """Stopped, as by a debugger, with handlers of its own: SIGKILL alone reaches it."""
    stopped = subprocess.Popen(["sh", "-c", "trap : INT HUP; kill -STOP $$"], start_new_session=True)
    until(lambda: Path(f"/proc/{stopped.pid}/stat").read_text().split()[2] == "T", 10)
    with forwarded({0: stopped}, patience=patience) as received:
        for number in numbers:
            os.kill(os.getpid(), number)
        assert stopped.wait(10) == -signal.SIGKILL
    assert received == list(numbers)


def test_a_closed_terminal_is_no_error(tmp_path: Path) -> None:
    """The terminal of a process is closed: it gets SIGHUP, and goes on to print."""
    code = (
        "import sys, time; from pathlib import Path; from ssl_lightning.launch.interrupts import forwarded\n"
        "with forwarded({}) as received:\n"
        "    print('ready', flush=True)\n    while not received: time.sleep(0.05)\n    print('stopping', flush=True)\n"
        "Path(sys.argv[1]).write_text(str(received))"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", code, str(tmp_path / "received")])
    assert os.read(terminal, 100).strip() == b"ready"
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (tmp_path / "received").read_text() == "[1]"


@pytest.mark.slow
def test_torchrun_starts_and_restarts_the_processes(sweep: Path, tmp_path: Path) -> None:
    """Rank 1 kills itself once: torchrun starts both again, and the run goes on in its folder.

    (A restart needs a store of its own; torchrun's shared one hands out the addresses of the processes before.)
    """
    script = tmp_path / "job.py"
    script.write_text(
        "import os, signal\n"
        "from ssl_lightning.methods.base import Method\n"
        "step = Method.optimizer_step\n"
        "def killed(self, *args, **kwargs):\n"
        "    if os.environ['RANK'] + os.environ['TORCHELASTIC_RESTART_COUNT'] == '10' and self.global_step == 9:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, *args, **kwargs)\n"
        "Method.optimizer_step = killed\n"
        "from ssl_lightning.pretrain import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1",
         str(script), *DDP, "seed=1"],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "simclr_digits").iterdir()
    assert_same(state(run), state(sweep / "0"))
    with (run / "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == sorted(
            {int(r["step"]) for r in state(run)["rows"]}
        )


@pytest.mark.parametrize(
    ("devices", "strategy", "expected"),
    [(1, "auto", 1), (3, "ddp", 3), ("auto", "auto", 1), ([0, 2], "ddp", 2)],
)
def test_number_of_processes(devices: object, strategy: str, expected: int) -> None:
    trainer = OmegaConf.create({"accelerator": "cpu", "devices": devices, "strategy": strategy, "num_nodes": 1})
    assert processes_to_start(trainer) == expected


def test_several_machines_need_a_launcher() -> None:
    trainer = OmegaConf.create({"accelerator": "cpu", "devices": 1, "strategy": "ddp", "num_nodes": 2})
    with pytest.raises(InputError, match="needs srun or torchrun"):
        processes_to_start(trainer)


def test_a_mistake_that_the_first_of_several_ranks_finds_is_one_line(tmp_path: Path) -> None:
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    done = command("pretrain", "data=image_folder", "data.root=nowhere", *two, cwd=tmp_path, interpreters=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [line for line in done.stderr.splitlines() if "nowhere does not exist" in line]
