"""What a run is, in a few words: read from what Hydra wrote into its folder."""

from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ssl_lightning.runs.folder import RunFolder


def choices(run: RunFolder) -> dict[str, str]:
    """The choice of each group, such as `{"method": "simclr", "data": "digits"}`; Hydra's own groups left out."""
    found = _hydra(_start(run)).get("runtime", {}).get("choices", {})
    return {group: name for group, name in found.items() if isinstance(name, str) and not group.startswith("hydra/")}


def title(run: RunFolder) -> str:
    """Method, data and what tells the run from others: its seed or, in a sweep, what differs among the jobs."""
    chosen = choices(run)
    what = [chosen[key] for key in ("method", "data") if key in chosen]
    differing = [override for override in _differing(run) if override.partition("=")[2] not in what]
    return " ".join([*what, *(differing or [f"seed={OmegaConf.load(run.config).seed}"])])


def _differing(run: RunFolder) -> list[str]:
    """The overrides of a job by which its sweep varies."""
    sweep = OverridesParser.create().parse_overrides(_overrides(_hydra(run.path.resolve().parent / "multirun.yaml")))
    varied = {override.key_or_group for override in sweep if override.is_sweep_override()}
    return [text for text in _overrides(_hydra(_start(run))) if text.partition("=")[0].lstrip("+") in varied]


def _overrides(hydra: Any) -> list[str]:
    return hydra.get("overrides", {}).get("task", [])


def _start(run: RunFolder) -> Path:
    return run.config.with_name("hydra.yaml")


def _hydra(file: Path) -> Any:
    """What Hydra wrote of itself; empty where it wrote nothing."""
    return OmegaConf.to_container(OmegaConf.load(file).hydra) if file.exists() else {}
