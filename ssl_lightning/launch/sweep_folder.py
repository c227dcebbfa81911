"""The folder of a sweep: how to go on with it, and what a job left there."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.errors import InputError, TrainingInterrupted
from ssl_lightning.runs.folder import RunFolder, quoted

_REPLACED = ("hydra.sweep.dir", "hydra.mode", "hydra.run.dir", "hydra.sweeper.resume")


class SweepStopped(TrainingInterrupted):
    """A signal stopped a sweep; what it had done stays, and it can go on."""

    def __init__(self, signal: int, folder: Path) -> None:
        BaseException.__init__(self, f"stopped; go on with: ssl-pretrain resume_sweep={folder}")
        self.signal, self.step = signal, 0


class SweepFailed(RuntimeError):
    """The sweep is over and some of its jobs failed; the message says how many, what failed was told before."""


def resumed_arguments(where: str, others: Sequence[str]) -> list[str]:
    """The command line that goes on with the sweep in a folder: its own overrides, in the same folder.

    Args:
        where: the folder, as a sweep printed it.
        others: further arguments; options, `hydra...` and `sweep.KEY=...` alone can be given anew.

    Raises:
        InputError: the folder holds no sweep, or something is to be changed that makes other jobs of its jobs.
    """
    folder = find_sweep(where)
    for argument in others:
        if "=" in argument and not argument.startswith("-") and not _key(argument).startswith(("hydra", "sweep.")):
            raise InputError(
                f"resume_sweep= keeps the overrides of its sweep; start a new sweep for {argument}"
                " (hydra/launcher=..., hydra.launcher.KEY=... and sweep.n_trials=... can be changed)"
            )
    given = {_key(argument) for argument in others}
    kept = [override for override in _overrides(folder) if _key(override) not in {*given, *_REPLACED}]
    more = [argument for argument in others if argument not in ("-m", "--multirun")]
    return ["-m", *more, *kept, f"hydra.sweep.dir={quoted(folder)}", "hydra.sweeper.resume=true"]


def find_sweep(where: str | Path) -> Path:
    """The folder of a sweep, absolute.

    Raises:
        InputError: it holds no sweep of ssl-pretrain.
    """
    folder = Path(where).expanduser().resolve()
    if not folder.is_dir():
        raise InputError(
            f"there is no sweep at {where}; give the folder of a sweep, such as multirun/2026-01-01_12-00-00"
        )
    if not (folder / "multirun.yaml").is_file():
        if (folder / ".hydra" / "config.yaml").is_file():
            raise InputError(f"{where} is a single run, not a sweep; go on with it by resume={where}")
        raise InputError(f"{where} is not the folder of a sweep: it holds no multirun.yaml")
    return folder


def _overrides(folder: Path) -> list[str]:
    """What the sweep was started with; refused where it reaches beyond the composition of its jobs."""
    file = folder / "multirun.yaml"
    try:
        config = OmegaConf.load(file)
        given = config.hydra.overrides
        overrides = [str(override) for override in (*given.hydra, *given.task)]
        name = config.hydra.job.config_name
    except (OmegaConfBaseException, YAMLError, AttributeError, TypeError) as error:
        raise InputError(f"{file} is not the config of a sweep") from error
    if name != "pretrain":
        raise InputError(f"{folder} is a sweep of ssl-{name}; resume_sweep= is for those of ssl-pretrain")
    for override in overrides:
        if not _harmless(override):
            raise InputError(f"{file} sets {override}, which is not taken from a folder; give it after resume_sweep=")
    return overrides


def _harmless(override: str) -> bool:
    """Whether an override from a folder leaves it to this installation and its user what code Hydra runs."""
    key, value = _key(override), override.partition("=")[2]
    if override.startswith("-") or "_target_" in override:
        return False
    if (CONFIG_DIR / key).is_dir():  # a choice, which must not lead out of the group
        return re.fullmatch(r"[\w\-,\[\]]*", value) is not None
    if key in (*_REPLACED, "hydra.verbose", "hydra.job.chdir"):
        return True
    if key.startswith("hydra.launcher."):  # shell commands of a job script are more than one word
        return re.fullmatch(r"[\w.:+\-]*", value) is not None
    if key.startswith("hydra.sweeper."):
        return "hydra" not in f"{key.removeprefix('hydra.')}{value}"
    return re.search(r"(^|@)hydra\b", key) is None


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def finished(folder: Path) -> bool:
    """Whether the run in a folder came to its end."""
    return _results(folder).get("status") == "finished"


def stored_objective(folder: Path, name: str) -> float | None:
    """The last value of a metric in a finished run; None if the run is not finished or has no such metric."""
    return _results(folder)["metrics"].get(name) if finished(folder) else None


def stored_metrics(folder: Path) -> list[str]:
    """Names of the metrics that the run in a folder has logged."""
    return sorted(_results(folder).get("metrics", {}))


def _results(folder: Path) -> dict[str, Any]:
    try:
        results = json.loads(RunFolder(folder).results.read_text())
    except (OSError, ValueError):
        return {}
    return results if isinstance(results, dict) else {}


def refuse_used(folder: Path) -> None:
    """A sweep begins in a folder without jobs.

    Raises:
        InputError: there are some, which would be trained anew.
    """
    if any(folder.glob("*/.hydra")):
        raise InputError(
            f"{folder} holds jobs already; go on with them by resume_sweep={folder} or change hydra.sweep.dir"
        )


def save_sweep(config: DictConfig, folder: Path) -> None:
    """Writes `multirun.yaml`, from which `resume_sweep=` goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")
