"""Who started this process, and how many devices it has: torchrun, srun or nobody."""

import os
import time
from typing import Any, Literal


def launcher() -> Literal["torchrun", "srun"] | None:
    """What started this process as one of several; None: nothing did."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun"
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return "srun"
    return None


def launched_rank() -> int:
    """Number of this process among those that torchrun or srun started, from 0."""
    return int(os.environ.get({"torchrun": "RANK", "srun": "SLURM_PROCID"}.get(launcher() or "", ""), 0))


def launched_again() -> bool:
    """Whether SLURM (requeue) or torchrun (restart) started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0 or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def launch_name() -> str:
    """A name that the processes of one launch share, and keep when they are started again."""
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
    if devices in ("auto", -1, "-1"):
        return max(1, gpus) if strategy != "auto" or devices != "auto" else 1
    if isinstance(devices, str):
        devices = int(devices) if devices.isdigit() else [number for number in devices.split(",") if number.strip()]
    return devices if isinstance(devices, int) else len(devices)
