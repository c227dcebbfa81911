"""A SLURM of one node on this machine: munge, controller and node as processes of the tests."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")


def missing_program() -> str | None:
    """The first program of SLURM or munge that is not installed."""
    return next((program for program in PROGRAMS if shutil.which(program, path=_PATH) is None), None)


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Waits for a true value and returns it.

    Raises:
        TimeoutError: it did not come.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)
    return found


class Cluster:
    """Two processors on loopback, with ports, keys and state of its own, all under `folder`; ended by `stop`.

    A requeued job starts again after six seconds (SLURM's default is two minutes); there is no accounting.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen] = []
        self.config = folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to talk to this cluster, and what its jobs inherit."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return {**inherited, "PATH": _PATH, "SLURM_CONF": str(self.config), "OMP_NUM_THREADS": "1"}

    def start(self) -> None:
        """Starts the three daemons and waits for the node.

        Raises:
            TimeoutError: one of them does not come up; the message holds the end of its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = {name: self.folder / f"munged.{name}" for name in ("socket", "log", "pid", "seed")}
        self._daemon(
            "munged",
            "--foreground",
            "--force",  # the folder for temporary files may be anyone's
            f"--key-file={key}",
            f"--socket={files['socket']}",
            f"--log-file={files['log']}",
            f"--pid-file={files['pid']}",
            f"--seed-file={files['seed']}",
        )
        until(files["socket"].exists, "munged")
        self.config.write_text(self._configuration(files["socket"]))
        for folder in ("state", "spool"):
            (self.folder / folder).mkdir()
        self._daemon("slurmctld", "-D", "-f", str(self.config))
        self._daemon("slurmd", "-D", "-f", str(self.config))
        try:
            until(self._idle, "the node of the test's SLURM")
        except TimeoutError as error:
            logs = [file.read_text()[-2000:] for file in sorted(self.folder.glob("slurm*.log"))]
            self.stop()
            raise TimeoutError("\n".join([str(error), *logs])) from None

    def _daemon(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("w") as output:
            self.daemons.append(
                subprocess.Popen(command, env=self.environment, stdout=output, stderr=output, cwd=self.folder)
            )

    def _configuration(self, munge: Path) -> str:
        host = socket.gethostname().partition(".")[0]
        controller, node = _free_ports(2)
        return "\n".join(
            [
                "ClusterName=ssl",
                f"SlurmctldHost={host}(127.0.0.1)",
                f"SlurmUser={getpass.getuser()}",
                f"SlurmdUser={getpass.getuser()}",
                "AuthType=auth/munge",
                f"AuthInfo=socket={munge},cred_expire=5",  # which is also how long a requeued job waits
                f"SlurmctldPort={controller}",
                f"SlurmdPort={node}",
                f"StateSaveLocation={self.folder / 'state'}",
                f"SlurmdSpoolDir={self.folder / 'spool'}",
                *(f"{name}PidFile={self.folder / name}.pid" for name in ("Slurmctld", "Slurmd")),
                *(f"{name}LogFile={self.folder / name.lower()}.log" for name in ("Slurmctld", "Slurmd")),
                "ProctrackType=proctrack/linuxproc",
                "TaskPlugin=task/none",
                "JobAcctGatherType=jobacct_gather/none",
                "MpiDefault=none",
                "SelectType=select/cons_tres",
                "SelectTypeParameters=CR_Core",
                "SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1",
                "SlurmdParameters=config_overrides",  # two processors, whatever there are
                "ReturnToService=2",
                "KillWait=30",
                f"NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000 State=UNKNOWN",
                f"PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO",
                "",
            ]
        )

    def _idle(self) -> bool:
        for daemon in self.daemons:
            if daemon.poll() is not None:
                raise TimeoutError(f"{daemon.args[0]} ended with {daemon.returncode}")  # type: ignore[index]
        return "State=IDLE" in self.run("scontrol", "show", "node", check=False)

    def run(self, *command: str, cwd: Path | None = None, check: bool = True, timeout: float = 60) -> str:
        """The output of a command that talks to this cluster; raises if it fails."""
        done = subprocess.run(
            command, env=self.environment, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, script: str, folder: Path, *options: str) -> str:
        """Submits the text of a batch script from `folder`, where its output goes too; returns the job's id."""
        file = folder / "job.sh"
        file.write_text(f"#!/bin/bash\n{script}\n")
        return self.run("sbatch", "--parsable", "--output=%j.out", *options, str(file), cwd=folder).strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says of it: JobState, Restarts, ExitCode and so on."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: str, seconds: float = 120) -> dict[str, str]:
        """Waits for the end of a job, over all its restarts; returns its last state."""

        def ended() -> dict[str, str] | None:
            job = self.job(number)
            return job if job["JobState"] in _FINAL else None

        return until(ended, f"the end of job {number}", seconds)

    def cancel_all(self) -> None:
        """Ends every job without mercy, and waits for that."""
        for option in ("--signal=KILL", "--quiet"):
            self.run("scancel", option, "--user", getpass.getuser(), check=False)
        until(lambda: not self.run("squeue", "--noheader", check=False).strip(), "the end of all jobs", 40)

    def stop(self) -> None:
        """Cancels every job, then ends the daemons, the last one first."""
        if len(self.daemons) == 3:
            self.cancel_all()
        while self.daemons:
            daemon = self.daemons.pop()
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
