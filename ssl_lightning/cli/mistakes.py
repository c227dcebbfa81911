"""Every mistake of a user becomes one line that names what would be right."""

import re
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_lightning.config.choices import did_you_mean
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.errors import causes, first_line, mistake_behind
from ssl_lightning.launch.slurm import launcher_mistake
from ssl_lightning.runs.folder import quoted


def mistake(error: BaseException, name: str, arguments: list[str]) -> str | None:
    """The one line for an error that the user can mend; None for what is a defect of ours."""
    if (mistake := mistake_behind(error)) is not None:
        return str(mistake)
    if (line := launcher_mistake(error)) is not None:
        return line
    if (line := _mistake_of_the_machine(error)) is not None:
        return line
    composing = isinstance(error, HydraException | OmegaConfBaseException) or "Config group override" in str(error)
    if isinstance(error, InstantiationException) or not composing:
        return None
    return _composition_mistake(error, name, arguments)


def _mistake_of_the_machine(error: BaseException) -> str | None:
    """The line for a file that cannot be read or written, and for memory that is not there."""
    for link in reversed(causes(error)):
        if isinstance(link, OSError) and link.filename:
            return f"{link.filename}: {link.strerror}"
        if isinstance(link, MemoryError) or re.search("out of memory|can't allocate memory", str(link)):
            return f"there is too little memory: lower data.batch_size, or what is wide ({first_line(link)})"
    return None


def _not_parsed(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"'{override}' is not KEY=VALUE"
    return f"{override} cannot be read: quote its value, and all of it for the shell, '{key}=\"{value}\"'"


def _composition_mistake(error: BaseException, name: str, arguments: list[str]) -> str:
    if missing := re.search(r"Missing mandatory value: (\w+)", str(error)):
        return f"{missing[1]} is missing: ssl-{name} {missing[1]}=... (see ssl-{name} --help)"
    if isinstance(error, OverrideParseException):
        return _not_parsed(error.override)
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    if line := _wrong_override(error, name, overrides, _config_dir(arguments)):
        return line
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{first} ({others[0]})" if others else first


def _config_dir(arguments: list[str]) -> list[str]:
    """The override that looks for configs where `--config-dir` does; none without that option."""
    from hydra._internal.utils import get_args_parser

    place = get_args_parser().parse_known_args(arguments)[0].config_dir
    return [f"hydra.searchpath=[{quoted(f'file://{Path(place).absolute()}')}]"] if place else []


def _wrong_override(error: BaseException, name: str, overrides: list[str], beside: list[str]) -> str | None:
    """The line for the first override of what is no choice of its group, or no key."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        keys = _keys(name, overrides, beside)
        for override in overrides:
            key, _, value = override.partition("=")
            key = key.lstrip("+~")
            if key and (CONFIG_DIR / key).is_dir():
                listed = GlobalHydra.instance().config_loader().get_group_options(key, overrides=beside)
                choices = [choice for choice in listed if not choice.startswith("_")]
                named = [] if value == "[]" else value.strip("[]").split(",")
                wrong = [choice for choice in named if choice not in choices]
                if wrong and (not key.startswith("hydra/") or wrong[0] in str(error)):  # Hydra has choices of its own
                    return f"there is no {key} '{wrong[0]}'; {did_you_mean(wrong[0], choices)}"
            elif key not in keys and not override.startswith("+") and not key.startswith("hydra"):
                return f"there is no '{key}'; {did_you_mean(key, keys)}"
    return None


def _keys(name: str, overrides: list[str], beside: list[str]) -> list[str]:
    """All keys and groups that could be overridden, as composed with those overrides that name a choice."""
    from hydra import compose

    groups = [str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*") if path.is_dir()]
    chosen = [o for o in overrides if (CONFIG_DIR / o.partition("=")[0] / f"{o.partition('=')[2]}.yaml").is_file()]
    return groups + _flat(OmegaConf.to_container(compose(name, [*chosen, *beside]), resolve=False))


def _flat(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    names = [f"{prefix}{key}" for key in node]
    return names + [key for name, child in node.items() for key in _flat(child, f"{prefix}{name}.")]
