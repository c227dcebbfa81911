"""The config that a run keeps in its folder. It may come from a stranger: it is read as data, and can run nothing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_lightning.errors import InputError, first_line

_LARGEST_FILE = 2**20
_MOST_VALUES = 20_000
_DEEPEST = 40
_OTHER_KEY = re.compile(r"\$\{\.*\w+(\.\w+)*\}")
RUN_FOLDER = "${hydra:runtime.output_dir}"
_OF_OURS = (RUN_FOLDER, "${oc.env:SSL_DATA,data}")
"""The calls of a resolver in `conf/` that a run keeps as they are: its folder may move, and its data lie elsewhere."""


def storable(node: Any) -> Any:
    """A plain copy of a config in which every call of a resolver is replaced by its result; values of other keys stay
    interpolated, so that a resume can change them in one place."""
    if node is None or node._is_none():
        return None
    if node._is_interpolation():
        if _is_allowed(node._value()):
            return node._value()
        node = node._dereference_node()
    if isinstance(node, DictConfig):
        return {key: storable(node._get_node(key)) for key in node}
    if isinstance(node, ListConfig):
        return [storable(node._get_node(index)) for index in range(len(node))]
    return node._value()


def _is_allowed(text: str) -> bool:
    return text in _OF_OURS or _OTHER_KEY.fullmatch(text) is not None


def read_config(path: Path) -> DictConfig:
    """The config in a run folder.

    Raises:
        InputError: it is no YAML of plain values; it calls a resolver; or it is for Hydra itself.
    """
    content = read_yaml(path)
    if {"hydra", "defaults"} & set(content):
        raise InputError(f"{path} is not the config of a run: it sets hydra or defaults")
    for _, text in nodes(content):
        if isinstance(text, str) and "${" in text and not _is_allowed(text):
            raise InputError(f"{path} is not the config of a run: it holds {text[:100]!r}, which calls a resolver")
    config: DictConfig = OmegaConf.create(content)
    try:
        for number, _ in enumerate(_expanded(config)):
            if number > _MOST_VALUES:
                raise InputError(f"{path} has more than {_MOST_VALUES} values when its interpolations are resolved")
    except (OmegaConfBaseException, RecursionError) as error:
        raise InputError(f"{path} has an interpolation that leads nowhere ({first_line(error)})") from error
    return config


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, of plain values alone; nothing in it is interpolated.

    Raises:
        InputError: it is not there, too large, no YAML, no mapping, or it has aliases, tags or a directive of Hydra.
    """
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"{path} is not a file of at most {_LARGEST_FILE // 1024} kB")
        text = path.read_text()
        _refuse_tricks(path, text)
        content: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (OSError, UnicodeError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path} cannot be read as YAML ({first_line(error)})") from error
    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        raise InputError(f"{path} is not the config of a run")
    return content


def _refuse_tricks(path: Path, text: str) -> None:
    if "@package" in text:
        raise InputError(f"{path} is not the config of a run: it has a directive for Hydra")
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        tag = getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent) or tag not in (None, "!") or depth > _DEEPEST:
            raise InputError(f"{path} is not the config of a run: it has aliases, tags or {_DEEPEST} levels")
        if isinstance(event, yaml.ScalarEvent) and depth == 0:
            raise InputError(f"{path} is not the config of a run: it is a text")


def wandb_settings(config: DictConfig) -> dict[str, Any] | None:
    """`logger.wandb` of a run, not resolved; None: Weights & Biases did not track it."""
    tracked = OmegaConf.select(config, "logger.wandb")
    if not tracked or not str(tracked.get("_target_")).endswith(".wandb.WandbLogger"):
        return None
    settings: Any = OmegaConf.to_container(tracked, resolve=False)
    return settings


def nodes(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All nodes of a plain config, itself included, with their keys, such as `data.source` and `data.mean[0]`."""
    yield key, node
    if isinstance(node, dict):
        for name, child in node.items():
            yield from nodes(child, f"{key}.{name}".strip("."))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from nodes(child, f"{key}[{index}]")


def _expanded(node: Any) -> Iterator[Any]:
    """Every value, those that interpolations lead to as often as they do."""
    if node is not None and node._is_interpolation() and node._value() not in _OF_OURS:
        node = node._dereference_node()
    yield node
    if isinstance(node, DictConfig | ListConfig) and not node._is_none():
        keys: Any = node if isinstance(node, DictConfig) else range(len(node))
        for key in keys:
            yield from _expanded(node._get_node(key))
