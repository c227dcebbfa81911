"""What a config may build: the parts that `conf/` names, known parts of libraries, and packages that the user trusts.

A config may come from a stranger's run folder, so it grants nothing. The user does, on the command line
(`trust=my_package`) or in the environment (`SSL_TRUST=my_package,other`).
"""

import functools
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.errors import InputError, described
from ssl_lightning.runs.stored_config import RUN_FOLDER, nodes

_VARIABLE = "SSL_TRUST"
_OF_LIBRARIES = {
    "lightning.pytorch.callbacks": "DeviceStatsMonitor EarlyStopping LearningRateMonitor ModelSummary RichModelSummary"
    " RichProgressBar TQDMProgressBar Timer",
    "lightning.pytorch.loggers": "CSVLogger CometLogger MLFlowLogger TensorBoardLogger WandbLogger",
    "lightning.pytorch.profilers": "AdvancedProfiler PyTorchProfiler SimpleProfiler",
    "torch.optim": "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax NAdam RAdam RMSprop SGD",
    "timm.optim": "AdaBelief AdamP Adan LaProp Lamb Lars Lion MADGRAD Mars NAdamW SGDP SGDW",
}
"""Callbacks that observe, loggers, profilers and optimizers."""


def take_trust(arguments: list[str]) -> list[str]:
    """The arguments without `trust=...`, whose packages go into the environment: all processes of a run know them.

    Raises:
        InputError: a name that is none, or of a package that is not there.
    """
    rest = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.lstrip("+") != "trust":
            rest.append(argument)
            continue
        named = [name.strip(" '\"") for name in value.strip("[]").split(",")]
        _search_current_folder()
        for name in named:
            parts = name.split(".")
            if not all(map(str.isidentifier, parts)) or importlib.util.find_spec(parts[0]) is None:
                raise InputError(f"trust={name}: there is no such package in the current folder, and none is installed")
        os.environ[_VARIABLE] = ",".join(dict.fromkeys([*_packages(), *named]))
    return rest


def _packages() -> list[str]:
    return [name.strip() for name in os.environ.get(_VARIABLE, "").split(",") if name.strip()]


def _search_current_folder() -> None:
    """Packages are also looked for where the user stands, but last: no file there hides a library."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def validate_targets(config: DictConfig) -> None:
    """A config may only build what is trusted.

    Raises:
        InputError: some `_target_` is not trusted, or is not there.
    """
    for key, target in targets(OmegaConf.to_container(config, resolve=False)):
        said, package = f"{key}._target_={target}", target.partition(".")[0]
        if not _trusted(target) and package == "ssl_lightning":
            raise InputError(f"{said} is none of the parts that a config builds and is not run")
        if not _trusted(target):
            raise InputError(
                f"{said} is not from ssl_lightning and is not run; if you know and trust the package {package}, add"
                f" trust={package}, or set {_VARIABLE}={package}"
            )
        try:
            if target not in _names():
                _search_current_folder()
            found = get_object(target)
        except Exception as error:
            raise InputError(f"{said} cannot be found ({described(error.__cause__ or error)})") from error
        home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
        if target not in _names() and not _trusted(home):
            raise InputError(f"{said} leads to {home}, outside what you trust, and is not run")


def _trusted(target: str) -> bool:
    return target in _names() or any(target.startswith(f"{package}.") for package in _packages())


@functools.cache
def _names() -> frozenset[str]:
    """Every `_target_` in `conf/`, but for Hydra's own plugins, and the parts of libraries."""
    files = [file for file in CONFIG_DIR.rglob("*.yaml") if not file.is_relative_to(CONFIG_DIR / "hydra")]
    ours = (name for file in files for name in re.findall(r"_target_:\s*([\w.]+)", file.read_text()))
    theirs = (f"{module}.{name}" for module, names in _OF_LIBRARIES.items() for name in names.split())
    return frozenset([*ours, *theirs])


_WRITE = ("lightning.pytorch.loggers.", "lightning.pytorch.profilers.", "ssl_lightning.loggers.")
"""What writes where its arguments say."""
_PLACE = re.compile("dir|folder|path|uri|entity|workspace")
"""In the names of these arguments."""


def refuse_places(config: DictConfig, given: Sequence[str] | None = None) -> None:
    """Of a folder's config, what writes files stands in its own place, where only a training builds it.

    Args:
        given: the user's overrides of a training, in which it also must write into the run's folder, or where one of
            these says, as must caches; None: nothing is trained.

    Raises:
        InputError: it stands or writes elsewhere.
    """
    plain: Any = OmegaConf.to_container(config, resolve=False)
    places = caches(plain)
    for key, node in nodes(plain):
        if isinstance(node, dict) and str(node.get("_target_")).startswith(_WRITE):
            if not re.fullmatch(r"logger\.\w+|trainer\.profiler", key):
                raise InputError(f"{key}._target_={node['_target_']} is out of its place and is not run")
            for name, value in node.items():
                out = may_lead_out(value) or (value and _PLACE.search(str(name)))
                if out and name != "_target_" and value not in (RUN_FOLDER, own_entity()):
                    places.append((f"{key}.{name}", value))
    for name, value in places:
        if given is not None and f"{name}={value}" not in given:
            raise InputError(f"the run has {name}={value}, out of the run's folder; add it after resume= to mean it")


def own_entity() -> str | None:
    """Whose runs the user's runs of W&B are, as the user says; None: those of the login."""
    return os.environ.get("WANDB_ENTITY")


def may_lead_out(value: Any) -> bool:
    """Whether a value could be the path of a place that is not below."""
    return re.search(r"[/\\~$]|\.\.", str(value)) is not None


def caches(plain: Any) -> list[tuple[str, str]]:
    """All (key, place) pairs of a plain config that name a folder for caches themselves."""
    found = [(key, node) for key, node in nodes(plain) if re.search(r"(^|\.)cache$", key) and isinstance(node, str)]
    return [(key, place) for key, place in found if not place.startswith("${")]


def targets(plain: Any) -> list[tuple[str, str]]:
    """All (key, `_target_`) pairs of a plain config."""
    return [(key, str(node["_target_"])) for key, node in nodes(plain) if isinstance(node, dict) and "_target_" in node]
