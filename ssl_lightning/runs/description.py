"""What a run is, in a few words: its choices, and by what it differs from others of its sweep."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ssl_lightning.errors import InputError, described
from ssl_lightning.runs.folder import RunFolder, write_atomically
from ssl_lightning.runs.stored_config import read_yaml

Description = tuple[dict[str, str], list[str]]
"""The choice of each group but Hydra's own, such as `{"method": "simclr", "data": "digits"}`; and the overrides."""


def stored_description(run: RunFolder) -> Description:
    """As the folder keeps it, whatever runs in this process.

    Raises:
        InputError: the folder does not hold what a run writes.
    """
    file = run.config.with_name("hydra.yaml")
    if not file.exists():
        return {}, []
    match read_yaml(file):
        case {"hydra": {"runtime": {"choices": dict()}, "overrides": {"task": [*_]}} as found}:
            return _described(found)
    raise InputError(f"{file} does not tell of what the run was composed")


def describe(run: RunFolder) -> Description:
    """How Hydra composed the run: in this process or, of a resume, as its folder keeps it."""
    if HydraConfig.initialized() and "method" in HydraConfig.get().runtime.choices:
        return _described(OmegaConf.to_container(HydraConfig.get(), resolve=False))
    return stored_description(run)


def _described(hydra: Any) -> Description:
    found = hydra["runtime"]["choices"].items()
    choices = {group: name for group, name in found if isinstance(name, str) and not group.startswith("hydra/")}
    return choices, [str(override) for override in hydra["overrides"]["task"]]


def store_description(run: RunFolder) -> None:
    """Keeps it for a resume, which is composed from the values alone."""
    choices, overrides = describe(run)
    kept = {"hydra": {"runtime": {"choices": choices}, "overrides": {"task": overrides}}}
    write_atomically(run.config.with_name("hydra.yaml"), OmegaConf.to_yaml(OmegaConf.create(kept)))


def title(run: RunFolder, seed: int) -> str:
    """Method, data and what tells the run from others: its seed or, in a sweep, what differs among the jobs."""
    choices, overrides = describe(run)
    what = [choices[key] for key in ("method", "data") if key in choices]
    varied = _varied(run.path.resolve().parent / "multirun.yaml")
    own = [text for text in overrides if text.partition("=")[0].lstrip("+") in varied]
    return " ".join([*what, *([text for text in own if text.partition("=")[2] not in what] or [f"seed={seed}"])])


def _varied(sweep: Path) -> set[str]:
    """The keys by which a sweep varies."""
    if not sweep.exists():
        return set()
    try:
        overrides = OverridesParser.create().parse_overrides(list(read_yaml(sweep)["hydra"]["overrides"]["task"]))
    except (KeyError, TypeError, HydraException) as error:
        raise InputError(f"{sweep} is not the config of a sweep ({described(error)})") from error
    return {override.key_or_group for override in overrides if override.is_sweep_override()}
