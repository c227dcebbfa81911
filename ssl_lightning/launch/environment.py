"""Who started this process, and how many devices it has: torchrun, srun or nobody."""

import os
import time
from pathlib import Path
from typing import Any, Literal

from ssl_lightning.runs.folder import claim

SPIN_COUNT = 10_000
"""Turns that a waiting thread of libgomp spins before it sleeps; its own 300000 are some 3 ms."""


def share_cores() -> None:
    """Lets OpenMP's threads sleep while they wait, before torch is imported, unless the user has set how they wait.

    A thread that spins takes a core from whatever runs beside, and a run beside another would crawl.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


def launcher() -> Literal["torchrun", "srun"] | None:
    """What started this process as one of several; None: nothing did, or a run on this machine itself."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun"
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return "srun"
    return None


def launched_rank() -> int:
    """Number of this process among those of its run, from 0."""
    if launcher() == "srun":
        return int(os.environ.get("SLURM_PROCID", 0))
    return int(os.environ.get("RANK", 0)) if "LOCAL_RANK" in os.environ else 0


def run_folder(parent: str) -> str:
    """The folder of a run below `parent`: a new one, or that of the launch whose processes share one run.

    A launch by torchrun or srun keeps the name of its folder when it is started again.
    """
    if launcher() is not None:
        return str(Path(parent) / _launch_name())
    return str(claim(Path(parent) / time.strftime("%Y-%m-%d_%H-%M-%S")))


def _launch_name() -> str:
    if launcher() == "srun":
        return f"job_{os.environ['SLURM_JOB_ID']}.{os.environ.get('SLURM_STEP_ID', 0)}"
    try:
        began = os.stat(f"/proc/{os.getppid()}").st_ctime
    except OSError:
        return f"torchrun_{os.environ['TORCHELASTIC_RUN_ID']}"
    return time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(began))


def local_devices(accelerator: str, devices: Any, strategy: str) -> int:
    """Number of devices that `trainer.devices` means on this machine."""
    import torch

    gpus = torch.cuda.device_count() if accelerator in ("auto", "gpu", "cuda") else 0
    if devices in ("auto", -1):
        return max(1, gpus) if strategy != "auto" or devices != "auto" else 1
    return devices if isinstance(devices, int) else len(devices)
