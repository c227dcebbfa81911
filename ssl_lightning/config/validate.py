"""A config is a set of constructor calls: keys and values are held against the signatures before anything is built."""

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from hydra.utils import get_class, get_object
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.choices import choices_that_fit, did_you_mean
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.config.trust import validate_targets
from ssl_lightning.errors import InputError

_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", types.NoneType: "null"}


def validate_arguments(config: DictConfig, key: str = "") -> None:
    """Walks every `_target_` of a config.

    Raises:
        InputError: a key that its constructor does not take, or a value that is not of the plain type it declares.
    """
    if config.get("_target_"):
        _check_call(config, key)
    for name in config:
        child = config._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            validate_arguments(child, f"{key}.{name!s}".strip("."))


def _check_call(config: DictConfig, key: str) -> None:
    parameters, hints = _signature(get_object(config._target_))
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in config:
        if str(name).startswith("_"):
            continue
        if name not in parameters and not open_ended:
            near = did_you_mean(str(name), parameters)
            raise InputError(f"{key}.{name!s} is not an argument of {config._target_}; {near}")
        value = config[name]
        if name in hints and isinstance(value, int | float | str | bool | None) and not _fits(value, hints[name]):
            raise InputError(f"{key}.{name!s}={value} is not {_describe(hints[name])}")


@cache
def _signature(constructor: Any) -> tuple[Mapping[str, inspect.Parameter], dict[str, Any]]:
    """Its parameters, and their types; no types where some are names that only a type checker knows."""
    try:
        hints = typing.get_type_hints(constructor.__init__ if inspect.isclass(constructor) else constructor)
    except (NameError, TypeError):
        hints = {}
    return inspect.signature(constructor).parameters, hints


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value fits a type hint; hints that are not made of plain types fit anything but a text."""
    options = _options(hint)
    if typing.Any in options or any(type(value) is option or value in typing.get_args(option) for option in options):
        return True
    if type(value) is int and float in options:
        return True
    plain = all(option in _PLAIN or typing.get_origin(option) is typing.Literal for option in options)
    return not plain and not isinstance(value, str)


def _options(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(option for part in typing.get_args(hint) for option in _options(part))
    return (hint,)


def _describe(hint: Any) -> str:
    def parts(option: Any) -> Iterator[str]:
        if typing.get_origin(option) is typing.Literal:
            yield from map(repr, typing.get_args(option))
        else:
            yield str(_PLAIN.get(option) or getattr(option, "__name__", option))

    return " or ".join(dict.fromkeys(part for option in _options(hint) for part in parts(option)))


_PARTS = ("trainer", "optimizer", "schedule", "backbone", "data", "transform", "callbacks", "logger", "method", "sweep")
"""The groups of `conf/` whose choices stand under their own names in a composed config."""


def validate_config(config: DictConfig) -> None:
    """All that can be seen to be wrong before anything is built.

    Raises:
        InputError: a target that is not trusted, a wrong key or value, or parts that do not fit each other.
    """
    validate_targets(config)
    validate_keys(config)
    validate_compatibility(config)
    validate_arguments(config)
    epochs, steps = config.trainer.get("max_epochs"), config.trainer.get("max_steps", -1)
    if epochs is not None and steps >= 0:
        raise InputError(
            f"trainer.max_epochs={epochs} and trainer.max_steps={steps} both say how long to train:"
            " set trainer.max_epochs=null or trainer.max_steps=-1"
        )
    method = _class(config.method._target_)
    if 0 < config.data.batch_size < method.min_batch_size:
        raise InputError(f"method {method.__name__} needs data.batch_size={method.min_batch_size} or more")
    if not 0 <= config.seed < 2**32:
        raise InputError(f"seed={config.seed} is not a whole number from 0 to 2^32 - 1")


def validate_keys(config: DictConfig) -> None:
    """A key that nothing reads is a mistake.

    Raises:
        InputError: a top-level key that neither `ssl-pretrain` nor `ssl-bench` has.
    """
    known = _top_level_keys()
    for key in map(str, config):
        if key not in known:
            parts = [part for part in _PARTS if OmegaConf.is_dict(config.get(part))]
            below = [f"{part}.{name!s}" for part in parts for name in config[part]]
            raise InputError(f"nothing reads the key {key}; {did_you_mean(key, [*known, *below])}")


@cache
def _top_level_keys() -> list[str]:
    files = [OmegaConf.load(CONFIG_DIR / f"{command}.yaml") for command in ("pretrain", "bench")]
    return [*_PARTS, *(str(key) for file in files for key in file if key not in ("defaults", "hydra"))]


def validate_compatibility(config: DictConfig) -> None:
    """Data, transform, method and backbone must fit each other.

    Raises:
        InputError: they do not; the message names the choices that would.
    """
    method, transform, data = (_class(config[part]._target_) for part in ("method", "transform", "data"))
    for part, cls, declared in (
        ("method", method, "requires"),
        ("transform", transform, "produces"),
        ("data", data, "provides"),
    ):
        if not hasattr(cls, declared):
            raise InputError(f"{part} {cls.__name__} does not declare `{declared}`, the keys of a batch, as others do")
    if not set(transform.requires) <= set(data.provides):
        raise _misfit(
            f"transform {transform.__name__} reads {', '.join(transform.requires)}, which data {data.__name__} does not"
            " give; data that fits",
            choices_that_fit("data", lambda made, _: set(transform.requires) <= set(made.provides)),
        )
    wanted = config.transform.get("channels", getattr(transform, "channels", None))
    if wanted not in (None, config.data.get("channels")):
        raise _misfit(
            f"the transform is for images of {_count(wanted, 'channel')}, and the data has {config.data.channels};"
            " data that fits",
            choices_that_fit("data", lambda made, node: "image" in made.provides and node.channels == wanted),
        )
    if not set(method.requires) <= {*data.provides, *transform.produces}:
        raise _misfit(
            f"method {method.__name__} reads {', '.join(method.requires)}, which {transform.__name__} does not make;"
            " transforms that fit",
            choices_that_fit("transform", lambda made, _: set(method.requires) <= {*data.provides, *made.produces}),
        )
    made_views = _count_views(config.transform)
    if "views" in method.requires and made_views and method.views not in (None, made_views):
        raise _misfit(
            f"method {method.__name__} takes {_count(method.views, 'view')} of an image, and the transform makes"
            f" {made_views}; transforms that fit",
            choices_that_fit("transform", lambda _, node: _count_views(node) == method.views),
        )
    if not _is_of_kind(method.backbone_kind, get_object(config.backbone._target_), config.backbone):
        given = config.backbone.get("head") or config.backbone._target_.rpartition(".")[2]
        raise _misfit(
            f"method {method.__name__} needs a backbone of the kind '{method.backbone_kind}', not {given};"
            " backbones that fit",
            choices_that_fit("backbone", lambda made, node: _is_of_kind(method.backbone_kind, made, node)),
        )
    channels = config.method.get("channels", config.data.get("channels"))
    if config.backbone.get("in_channels", channels) != channels:
        raise InputError(f"backbone.in_channels={config.backbone.in_channels}, but the data has {channels} channel(s)")


def _misfit(line: str, fitting: list[str]) -> InputError:
    return InputError(f"{line}: {', '.join(fitting) or 'none'}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"


def _is_of_kind(kind: str, made: Any, backbone: DictConfig) -> bool:
    """Whether what `made` builds of a config is such a backbone; one that does not say its kinds may be any."""
    kinds = getattr(made, "kinds", None)
    return kinds is None or kind in {*kinds, backbone.get("head")}


def _count_views(transform: DictConfig) -> int:
    """The views that the config of a transform lists; 0 where it lists none."""
    return sum(chain.get("count", 1) for chain in (transform.get("views") or {}).values())


def _class(target: str) -> Any:
    try:
        return get_class(target)
    except ValueError as error:
        raise InputError(f"{target} is not a class") from error
