"""What a run is, in a few words: its choices, and by what it differs from others of its sweep."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ssl_lightning.errors import InputError, described
from ssl_lightning.runs.folder import RunFolder, write_atomically
from ssl_lightning.runs.stored_config import read_yaml


def choices(run: RunFolder) -> dict[str, str]:
    """The choice of each group, such as `{"method": "simclr", "data": "digits"}`; Hydra's own groups left out."""
    return _chosen(_composition(run))


def stored_description(run: RunFolder) -> tuple[dict[str, str], list[str]]:
    """Choices and overrides as the folder keeps them, whatever runs in this process.

    Raises:
        InputError: the folder does not hold what a run writes.
    """
    found = _stored(run)
    return _chosen(found), [str(override) for override in found["overrides"]["task"]]


def _chosen(composition: Any) -> dict[str, str]:
    found = composition["runtime"]["choices"]
    return {group: name for group, name in found.items() if isinstance(name, str) and not group.startswith("hydra/")}


def title(run: RunFolder, seed: int) -> str:
    """Method, data and what tells the run from others: its seed or, in a sweep, what differs among the jobs."""
    chosen = choices(run)
    what = [chosen[key] for key in ("method", "data") if key in chosen]
    differing = [override for override in _varied(run) if override.partition("=")[2] not in what]
    return " ".join([*what, *(differing or [f"seed={seed}"])])


def store_description(run: RunFolder) -> None:
    """Keeps both for a resume, which is composed from the values alone."""
    found = _composition(run)
    kept = {"runtime": {"choices": found["runtime"]["choices"]}, "overrides": {"task": found["overrides"]["task"]}}
    write_atomically(run.config.with_name("hydra.yaml"), OmegaConf.to_yaml(OmegaConf.create({"hydra": kept})))


def _varied(run: RunFolder) -> list[str]:
    """The overrides of a job by which its sweep varies."""
    sweep = run.path.resolve().parent / "multirun.yaml"
    if not sweep.exists():
        return []
    try:
        overrides = OverridesParser.create().parse_overrides(list(read_yaml(sweep)["hydra"]["overrides"]["task"]))
    except (KeyError, TypeError, HydraException) as error:
        raise InputError(f"{sweep} is not the config of a sweep ({described(error)})") from error
    varied = {override.key_or_group for override in overrides if override.is_sweep_override()}
    texts = map(str, _composition(run)["overrides"]["task"])
    return [text for text in texts if text.partition("=")[0].lstrip("+") in varied]


def _composition(run: RunFolder) -> Any:
    """How Hydra composed the run: in this process or, of a resume, as its folder keeps it."""
    if HydraConfig.initialized() and "method" in HydraConfig.get().runtime.choices:
        return OmegaConf.to_container(HydraConfig.get(), resolve=False)
    return _stored(run)


def _stored(run: RunFolder) -> Any:
    file = run.config.with_name("hydra.yaml")
    match read_yaml(file) if file.exists() else {"hydra": {"runtime": {"choices": {}}, "overrides": {"task": []}}}:
        case {"hydra": {"runtime": {"choices": dict()}, "overrides": {"task": [*_]}} as found}:
            return found
    raise InputError(f"{file} does not tell of what the run was composed")
