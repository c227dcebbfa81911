"""Where the launcher of `conf/hydra/launcher/slurm.yaml` meets a training: what a job asks for, what can go wrong."""

import re
from typing import Any

from ssl_lightning.errors import InputError


def tasks_per_node(devices: Any) -> int:
    """One task for each device of a node; `devices` as in `trainer.devices`.

    Raises:
        InputError: it leaves the number to the machine, which is not known before the job runs.
    """
    if isinstance(devices, list):
        return len(devices)
    if str(devices).isdecimal() and int(devices) > 0:
        return int(devices)
    raise InputError(f"SLURM must be told the number of devices on each node: trainer.devices=8, not {devices}")


def gpus_per_node(accelerator: str, devices: Any) -> int | None:
    """As many as tasks; None for `trainer.accelerator=cpu`."""
    return None if accelerator == "cpu" else tasks_per_node(devices)


def launcher_mistake(error: BaseException) -> str | None:
    """The one line for what the launcher or SLURM refuses; None for any other error."""
    text = str(error)
    if "hydra/launcher/submitit_" in text:
        return "hydra/launcher=slurm needs more packages: pip install 'ssl-lightning[slurm]'"
    if 'Could not detect "srun"' in text:
        return "hydra/launcher=slurm needs the commands of SLURM; there is no srun on this machine"
    if unknown := re.match(r"Unknown argument '(\w+)' for executor", text):
        return f"hydra.launcher has no key {unknown[1]}; options of sbatch are hydra.launcher.additional_parameters.KEY"
    if type(error).__name__ not in ("FailedJobError", "UncompletedJobError"):
        return None
    lines = text.splitlines()
    if text.startswith("sbatch: "):
        reasons = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines if "error: " in line]
        return f"SLURM does not take the job: {'; '.join(reasons) or lines[0]}"
    return f"a job of the sweep did not finish: {' '.join(lines[:2])}"
