"""The folder of a sweep, and the command that resumes it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.config.trust import may_lead_out, own_entity
from ssl_lightning.errors import InputError, TrainingInterrupted, described
from ssl_lightning.runs.folder import quoted, refuse_links_out
from ssl_lightning.runs.stored_config import read_yaml

_ANEW = ("sweep.n_trials", "sweep.batch", "sweep.sampler", "sweep.seed")
"""Keys of a search that may change when it resumes."""


class SweepStopped(TrainingInterrupted):
    """A signal stopped a sweep; what it had done stays, and it can be resumed."""

    def __str__(self) -> str:
        return f"stopped; resume it with: ssl-pretrain resume_sweep={self.folder}"


def resumed_arguments(where: str, others: Sequence[str]) -> list[str]:
    """The command line of a sweep again, in its folder: finished jobs return what they have, the others resume.

    Args:
        where: the folder, as a sweep printed it.
        others: further arguments; options, `hydra...` and `sweep.KEY=...` alone can be given anew.

    Raises:
        InputError: the folder holds no sweep, or something is to be changed that makes other jobs of its jobs.
    """
    folder = _find_sweep(where)
    stored = _overrides(folder)
    for argument in others:
        new = "=" in argument and not argument.startswith("-") and argument not in stored
        if new and not _key(argument).startswith(("hydra", "sweep.")):
            raise InputError(f"resume_sweep= keeps the overrides of its sweep; start a new sweep for {argument}")
    given = {"hydra.sweep.dir", "hydra.mode", "hydra.run.dir", *(_key(argument) for argument in others)}
    kept = [override for override in stored if _key(override) not in given]
    for override in kept:
        if not _is_harmless(override):
            raise InputError(f"{folder} sets {override}, which is not taken from a folder; give it after resume_sweep=")
    more = [argument for argument in others if argument not in ("-m", "--multirun")]
    return ["-m", *more, *kept, f"hydra.sweep.dir={quoted(folder)}"]


def _find_sweep(where: str) -> Path:
    folder = Path(where).expanduser().resolve()
    if not folder.is_dir():
        raise InputError(f"there is no sweep at {where}; give its folder, such as multirun/2026-01-01_12-00-00")
    if not (folder / "multirun.yaml").is_file():
        if (folder / ".hydra" / "config.yaml").is_file():
            raise InputError(f"{where} is a single run, not a sweep; resume it by resume={where}")
        raise InputError(f"{where} is not the folder of a sweep: it holds no multirun.yaml")
    refuse_links_out(folder)
    for pickled in folder.glob(".submitit/**/*_result.pkl"):
        pickled.unlink()  # of a job that ended; submitit would unpickle one that has the number of a new job
    return folder


def _overrides(folder: Path) -> list[str]:
    """What the sweep was started with."""
    file = folder / "multirun.yaml"
    try:
        hydra = read_yaml(file)["hydra"]
        given, name = hydra["overrides"], hydra["job"]["config_name"]
        overrides = [str(override) for override in (*given["hydra"], *given["task"])]
    except (InputError, KeyError, TypeError) as error:
        raise InputError(f"{file} is not the config of a sweep ({described(error)})") from error
    if name != "pretrain":
        raise InputError(f"{folder} is a sweep of ssl-{name}; resume_sweep= is for those of ssl-pretrain")
    return overrides


def as_written(config: Any) -> Any:
    """A config as plain values, in which nothing is interpolated."""
    return OmegaConf.to_container(config, resolve=False)


def _is_harmless(override: str) -> bool:
    """Whether an override from a folder leaves it to this installation and its user what code Hydra runs."""
    key, value = _key(override), override.partition("=")[2]
    if "_target_" in override or "additional_parameters" in key:  # of sbatch, such as where a job's output goes
        return False
    if key.split(".")[-1] in ("resume", "resume_sweep", "run", "submitit_folder", "cache"):
        return False
    if key.startswith("logger.") and may_lead_out(value):
        return False
    if key.endswith(".entity") and value != own_entity():
        return False
    if (CONFIG_DIR / key).is_dir():  # a choice, which must not lead out of the group
        return re.fullmatch(r"[\w\-,\[\]]*", value) is not None
    if key.startswith("hydra.launcher."):  # shell commands of a job script are more than one word
        return re.fullmatch(r"[\w.:+\-]*", value) is not None
    plain = re.fullmatch(r"(?!(hydra|trust)\b)[\w.]+", key) is not None
    return plain and re.search(r"\$\{(?!hydra:job\.num\})", value) is None


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def save_sweep(config: DictConfig, folder: Path) -> None:
    """Writes `multirun.yaml`, from which `resume_sweep=` resumes.

    Raises:
        InputError: the folder holds a sweep of other overrides.
    """
    if (folder / "multirun.yaml").is_file():
        stored = read_yaml(folder / "multirun.yaml")["hydra"]["overrides"]["task"]
        before, now = (
            " ".join(sorted(override for override in overrides if _key(override) not in _ANEW))
            for overrides in (stored, as_written(config.hydra.overrides.task))
        )
        if before != now:
            raise InputError(f"{folder} holds a sweep of {before}, not {now}; give another hydra.sweep.dir")
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")
