"""Every mistake of a user becomes one line that names what would be right."""

import re
from collections.abc import Iterable

from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_lightning.config.choices import did_you_mean
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.errors import causes, first_line, machine_failure, mistake_behind
from ssl_lightning.launch.slurm import launcher_mistake
from ssl_lightning.runs.stored_config import nodes


def mistake(error: BaseException, name: str, arguments: list[str]) -> str | None:
    """The one line for an error that the user can mend; None for what is a defect of ours."""
    if (found := mistake_behind(error)) is not None:
        return str(found)
    if line := launcher_mistake(error) or machine_failure(error):
        return line
    cause = causes(error)[-1]
    if isinstance(error, InstantiationException) and isinstance(cause, TypeError) and "argument" in str(cause):
        return first_line(cause)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return _no_choice(group, choice, error.options)
    if "Config group override must be a string" in str(error):
        return f"a choice is a name, such as method=simclr, no number and not null: {' '.join(arguments)}"
    if isinstance(error, OverrideParseException):
        return _not_parsed(error.override)
    if isinstance(error, HydraException | OmegaConfBaseException) and not isinstance(error, InstantiationException):
        return _composition_mistake(error, name)
    return None


def _no_choice(group: str, choice: str, options: Iterable[str] | None) -> str:
    names = options or (file.stem for file in sorted((CONFIG_DIR / group).glob("*.yaml")))
    return f"there is no {group} '{choice}'; {did_you_mean(choice, (n for n in names if not n.startswith('_')))}"


def _not_parsed(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"'{override}' is not KEY=VALUE"
    return f"{override} cannot be read: quote its value, and all of it for the shell, '{key}=\"{value}\"'"


def _composition_mistake(error: BaseException, name: str) -> str:
    if missing := re.search(r"Missing mandatory value: (\w+)", str(error)):
        return f"{missing[1]} is missing: ssl-{name} {missing[1]}=... (see ssl-{name} --help)"
    composed = getattr(error.__cause__, "parent_node", None)
    if composed is not None and (unknown := re.match("Could not override '(.*)'", str(error))):
        folders = CONFIG_DIR.rglob("*") if name == "pretrain" else ()
        groups = [str(path.relative_to(CONFIG_DIR)) for path in folders if path.is_dir()]
        plain = OmegaConf.to_container(composed._get_root(), resolve=False)
        keys = [key for key, _ in nodes(plain) if not re.match(r"hydra|.*\[", key)]
        return f"there is no '{unknown[1]}'; {did_you_mean(unknown[1], [*groups, *filter(None, keys)])}"
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{first} ({others[0]})" if others else first
