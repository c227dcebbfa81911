"""From a composed config to objects, after what can be refused has been refused."""

import re
from pathlib import Path
from typing import Any

from hydra.utils import get_class, get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.errors import InputError
from ssl_lightning.runs.check import refuse_wrong_values
from ssl_lightning.runs.configs import CONF

_TRUSTED = ("ssl_lightning", "torch.optim")
_RESOLVERS = ("oc.env", "hydra", "now")
LANGUAGE_MODEL = "ssl_lightning.modules.text_models.language_model"


def refuse_what_cannot_work(config: DictConfig) -> None:
    """All that can be seen to be wrong before anything is built.

    Raises:
        InputError: a target that is not trusted, a wrong key or value, or parts that do not fit each other.
    """
    refuse_untrusted(config)
    refuse_misfit(config)
    refuse_wrong_values(config)
    smallest = _class(config.method._target_).smallest_batch
    if 0 < config.data.batch_size < smallest:
        raise InputError(f"method {_short(_class(config.method._target_))} needs data.batch_size={smallest} or more")
    if not 0 <= config.seed < 2**32:
        raise InputError(f"seed={config.seed} is not a whole number from 0 to 2^32 - 1")


def refuse_untrusted(config: DictConfig) -> None:
    """A config may only build what is defined in the packages of this project.

    Raises:
        InputError: some `_target_` lies outside them, or is not there.
    """
    plain = OmegaConf.to_container(config, resolve=False)
    for resolver in re.findall(r"\$\{\s*([\w.]+)\s*:", str(plain)):
        if resolver not in _RESOLVERS:
            raise InputError(f"the config calls the resolver {resolver}, which is none of {', '.join(_RESOLVERS)}")
    for key, target in targets(plain):
        if not target.startswith(tuple(f"{package}." for package in _TRUSTED)):
            raise InputError(f"{key}._target_={target} is not from {', '.join(_TRUSTED)} and is not run")
        try:
            home = getattr(get_object(target), "__module__", "")
        except Exception as error:
            raise InputError(f"{key}._target_={target} cannot be found") from error
        if not f"{home}.".startswith(tuple(f"{package}." for package in _TRUSTED)):
            raise InputError(f"{key}._target_={target} leads out of {', '.join(_TRUSTED)} and is not run")


def targets(node: Any, key: str = "") -> list[tuple[str, str]]:
    """All (key, `_target_`) pairs of a plain config."""
    if isinstance(node, dict):
        own = [(key, str(node["_target_"]))] if "_target_" in node else []
        return own + [pair for name, child in node.items() for pair in targets(child, f"{key}.{name}".strip("."))]
    if isinstance(node, list):
        return [pair for index, child in enumerate(node) for pair in targets(child, f"{key}[{index}]")]
    return []


def refuse_misfit(config: DictConfig) -> None:
    """Data and transform must give the batch keys that the method reads.

    Raises:
        InputError: some are missing; the message names the data and transforms that would fit.
    """
    method, transform, data = (_class(config[part]._target_) for part in ("method", "transform", "data"))
    if not set(transform.reads) <= set(data.gives):
        fitting = _choices("data", lambda made: set(transform.reads) <= set(made.gives))
        raise InputError(
            f"transform {_short(transform)} reads {_list(transform.reads)}, which data {_short(data)} does not give;"
            f" data that fits: {_list(fitting)}"
        )
    if not set(method.reads) <= {*data.gives, *transform.makes}:
        fitting = _choices("transform", lambda made: set(method.reads) <= {*data.gives, *made.makes})
        raise InputError(
            f"method {_short(method)} reads {_list(method.reads)}, which transform {_short(transform)} does not make;"
            f" transforms that fit: {_list(fitting)}"
        )
    made = _count_views(config.transform)
    if "views" in method.reads and made and method.views not in (None, made):
        fitting = _choices("transform", lambda made: set(method.reads) <= {*data.gives, *made.makes})
        counts = {name: _count_views(OmegaConf.load(CONF / "transform" / f"{name}.yaml")) for name in fitting}
        raise InputError(
            f"method {_short(method)} takes {method.views} view{'s'[: method.views > 1]} of an image, and the transform"
            f" makes {made}; transforms that fit: {_list(name for name in fitting if counts[name] == method.views)}"
        )


def _count_views(transform: Any) -> int:
    """The views that the config of a transform lists; 0 where it lists none."""
    return len(transform.get("views") or ())


def text_methods() -> str:
    """The names of the methods whose own backbone is a language model, as a list to read."""
    names = []
    for file in sorted((CONF / "method").glob("*.yaml")):
        choice: Any = OmegaConf.load(file)
        backbones = [entry["override /backbone"] for entry in choice.defaults if "override /backbone" in entry]
        if backbones and _target("backbone", backbones[0]) == LANGUAGE_MODEL:
            names.append(file.stem)
    return _list(names)


def _class(target: str) -> Any:
    return get_class(target)


def _choices(group: str, fits: Any) -> list[str]:
    names = (file.stem for file in sorted((CONF / group).glob("*.yaml")))
    return [name for name in names if not name.startswith("_") and fits(_class(_target(group, name)))]


def _target(group: str, name: str) -> str:
    """The `_target_` of a choice, its own or that of the choice it is based on."""
    choice = OmegaConf.load(CONF / group / f"{name}.yaml")
    assert isinstance(choice, DictConfig)
    if "_target_" in choice:
        return str(choice._target_)
    return _target(group, next(base for base in choice.defaults if base != "_self_"))


def _short(cls: type) -> str:
    return cls.__name__


def _list(names: Any) -> str:
    return ", ".join(names) or "none"


def build_data(config: DictConfig) -> Any:
    """The DataModule of a run with its transform."""
    return instantiate(config.data, transform=instantiate(config.transform))


def build_method(config: DictConfig, data: Any = None) -> Any:
    """The method of a run with the initial weights that belong to its seed.

    What stands as null in the config of the backbone and only `data` knows (`data.facts`), it is asked.
    """
    import lightning
    import torch

    lightning.seed_everything(config.seed, verbose=False)
    method = instantiate(
        config.method,
        backbone=instantiate(config.backbone, **_facts(config.backbone, data)),
        optimizer=instantiate(config.optimizer),
        schedule=instantiate(config.schedule),
    )
    if config.channels_last:
        method.to(memory_format=torch.channels_last)
    return method


def _facts(backbone: DictConfig, data: Any) -> dict[str, Any]:
    unknown = [key for key in ("vocab_size", "pad_id", "cls_id", "sep_id") if key in backbone and backbone[key] is None]
    if not unknown or data is None:
        return {}
    data.prepare_data()
    data.setup()
    return {key: data.facts[key] for key in unknown}


def load_config(path: Path) -> DictConfig:
    """The composed config of a run, refused unless it builds only what is ours."""
    config = OmegaConf.load(path)
    if not isinstance(config, DictConfig):
        raise InputError(f"{path} is not the config of a run")
    refuse_untrusted(config)
    return config
