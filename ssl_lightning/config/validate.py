"""A config is a set of constructor calls: keys and values are held against the signatures before anything is built."""

import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ssl_lightning.config.choices import choices_that_fit, did_you_mean
from ssl_lightning.config.options import OPTIONS
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.config.trust import targets, validate_targets
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import Seed

PARTS = ("method", "backbone", "data", "transform", "optimizer", "schedule")
_PARTIAL = ("optimizer", "schedule")
_OF_HYDRA = {"_target_": str, "_partial_": bool, "_convert_": Literal["none", "partial", "object", "all"]}
"""Not `_args_`, which have no names, and not `_recursive_`, since no part of ours takes a config."""
_WORDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "none_required": "null",
    "tuple_type": "a list",
    "list_type": "a list",
    "json_invalid": "valid UTF-8",
    "too_short": "longer",
    **dict.fromkeys(("callable_type", "needs_python_object"), None),
}
"""Instead of those of pydantic, by its name of an error; None: an object is wanted, which no plain value is."""


def validate_arguments(config: DictConfig, key: str = "", wanted: Any = None) -> None:
    """Walks every `_target_` of a config.

    Args:
        config: at `key`.
        wanted: the type that the argument at `key` declares.

    Raises:
        InputError: a key that its constructor does not take, or a value outside the type and range that it declares.
    """
    if config.get("_target_"):
        made = get_object(config._target_)
        known, others = _arguments(made)
        if config.get("_partial_") and key not in _PARTIAL and not re.search("Any|Callable", str(wanted)):
            raise InputError(f"{key}._partial_={config._partial_} should be left out: it would never be built")
        for name in map(str, config):
            hint = _OF_HYDRA.get(name) or known.get(name) or (None if name.startswith("_") else others)
            if hint is not None:
                if f"{key}.{name}" in getattr(made, "starts_from", ()):  # a run or a checkpoint, which `build` opens
                    hint = hint | str
                _refuse_misfit(_origin(config, name) or f"{key}.{name}", config[name], hint)
            elif (CONFIG_DIR / name).is_dir():
                raise InputError(f"{config._target_.rpartition('.')[2]} has no {name}: leave {name}= out")
            else:
                raise InputError(f"{key}.{name} is not an argument of {config._target_}; {did_you_mean(name, known)}")
    for name in map(str, config):
        child = config._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            place = known.get(name, others) if config.get("_target_") else wanted
            validate_arguments(child, f"{key}.{name}".strip("."), place)


def validate_parts(config: DictConfig) -> None:
    """That what a run is built from is there: no logger and no callback.

    Raises:
        InputError: a part that is not there, or is built too early or too late.
    """
    for key in PARTS:
        part = config.get(key)
        if not OmegaConf.is_dict(part) or "_target_" not in part:
            raise InputError(f"{key}={part} should be settings with a _target_")
        if bool(part.get("_partial_")) != (key in _PARTIAL):
            raise InputError(f"{key}._partial_={part.get('_partial_')} should be the opposite")
    _refuse_misfit("seed", config.get("seed"), Seed)


def _origin(config: DictConfig, name: str) -> str | None:
    """The key that a value is taken from, if it is that of another."""
    found = re.fullmatch(r"\$\{(\w[\w.]*)\}", str(config._get_node(name)._value()))  # type: ignore[union-attr]
    return found and found[1]


@cache
def _arguments(constructor: Any) -> tuple[Mapping[str, Any], Any]:
    """The types of its arguments by name, and of those under any other name; None: it takes no others."""
    try:
        function = constructor.__init__ if inspect.isclass(constructor) else constructor
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # some are names that only a type checker knows
        hints = {}
    parameters = inspect.signature(constructor).parameters.values()
    known = {p.name: hints.get(p.name, Any) for p in parameters if p.kind is not p.VAR_KEYWORD}
    others = next((hints.get(p.name, Any) for p in parameters if p.kind is p.VAR_KEYWORD), None)
    if typing.get_origin(others) is typing.Unpack:
        return known | typing.get_type_hints(typing.get_args(others)[0], include_extras=True), None
    return known, others


def _refuse_misfit(key: str, value: Any, hint: Any) -> None:
    """Holds a value against a type; what is built, by a `_target_`, fits."""
    if typing.is_typeddict(hint):
        for name, part in typing.get_type_hints(hint, include_extras=True).items():
            if not OmegaConf.is_missing(value, name):
                _refuse_misfit(f"{key}.{name}".strip("."), value[name], part)
        return
    plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    if targets(plain):
        return
    try:
        _adapter(hint).validate_json(json.dumps(plain))
    except ValidationError as error:
        said = plain if isinstance(plain, str) else json.dumps(plain)
        raise InputError(f"{key}={said} {_wanted(error)}") from None


@cache
def _adapter(hint: Any) -> TypeAdapter:
    return TypeAdapter(hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False))


def _wanted(error: ValidationError) -> str:
    """What would be right: "should be a whole number or null"."""
    wanted = [_WORDS.get(found["type"], found["msg"].rpartition(" should be ")[2]) for found in error.errors()]
    return f"should be {' or '.join(dict.fromkeys(filter(None, wanted))) or 'settings with a _target_'}"


_PARTS = ("trainer", "optimizer", "schedule", "backbone", "data", "transform", "callbacks", "logger", "method", "sweep")
"""The groups of `conf/` whose choices stand under their own names in a composed config."""


def validate_options(config: DictConfig, command: str) -> None:
    """What a command takes of its own, checked before torch is imported; a key that nothing reads is a mistake.

    Raises:
        InputError: such a key, or a value outside its type and range.
    """
    options = OPTIONS[command]
    groups = _PARTS if command in ("pretrain", "bench") else ()
    known = [*groups, *typing.get_type_hints(options)]
    for key in map(str, config):
        if key not in known:
            below = [f"{group}.{name!s}" for group in groups for name in config.get(group) or ()]
            raise InputError(f"nothing reads the key {key}; {did_you_mean(key, [*known, *below])}")
    _refuse_misfit("", config, options)


def validate_config(config: DictConfig) -> None:
    """All that can be seen to be wrong in a run before anything is built.

    Raises:
        InputError: a target that is not trusted, a wrong key or value, or parts that do not fit each other.
    """
    validate_targets(config)
    validate_parts(config)
    validate_compatibility(config)
    validate_arguments(config)
    for group in ("callbacks", "logger"):
        parts = config.get(group) or {}
        for name, part in parts.items() if isinstance(parts, Mapping) else [("*", parts)]:
            if part is not None and not OmegaConf.is_dict(part):
                raise InputError(f"{group}.{name!s}={part} should be null or settings with a _target_")
    _validate_length(config.trainer)
    method = get_object(config.method._target_)
    if config.data.batch_size < method.min_batch_size:
        raise InputError(f"method {method.__name__} needs data.batch_size={method.min_batch_size} or more")


def _validate_length(trainer: DictConfig) -> None:
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    given = f"trainer.max_epochs={'null' if epochs is None else epochs} and trainer.max_steps={steps}"
    if epochs is None and steps < 0:
        raise InputError(f"{given} train without end: set one of them")
    if epochs is not None and steps >= 0:
        raise InputError(f"{given} both say how long to train: set trainer.max_epochs=null or trainer.max_steps=-1")


def validate_compatibility(config: DictConfig) -> None:
    """Data, transform, method and backbone must fit each other.

    Raises:
        InputError: they do not; the message names the choices that would.
    """
    method, transform, data = (get_object(config[part]._target_) for part in ("method", "transform", "data"))
    for made, declared in ((method, "requires"), (transform, "produces"), (data, "provides")):
        if not hasattr(made, declared):
            raise InputError(f"{made.__name__} does not declare `{declared}`, the keys of a batch, as others do")

    def check(group: str, line: str, fits: Callable[[Any, DictConfig], bool]) -> None:
        if not fits(get_object(config[group]._target_), config[group]):
            named = "data" if group == "data" else f"{group}s"
            raise InputError(f"{line}; {named} that fit: {', '.join(choices_that_fit(group, fits)) or 'none'}")

    read = ", ".join(transform.requires)
    check(
        "data",
        f"transform {transform.__name__} reads {read}, which data {data.__name__} does not give",
        lambda made, _: set(transform.requires) <= set(made.provides),
    )
    if (wanted := config.transform.get("channels", getattr(transform, "channels", None))) is not None:
        check(
            "data",
            f"the transform is for images of {wanted} channel(s), and the data has {config.data.get('channels')}",
            lambda made, node: set(transform.requires) <= set(made.provides) and node.get("channels") == wanted,
        )
    check(
        "transform",
        f"method {method.__name__} reads {', '.join(method.requires)}, which {transform.__name__} does not make",
        lambda made, _: set(method.requires) <= {*data.provides, *made.produces},
    )
    if "views" in method.requires and method.views and (views := _count_views(config.transform)):
        check(
            "transform",
            f"method {method.__name__} takes {method.views} view(s) of an image, and the transform makes {views}",
            lambda _, node: _count_views(node) == method.views,
        )
    given = config.backbone.get("head") or config.backbone._target_.rpartition(".")[2]
    check(
        "backbone",
        f"method {method.__name__} needs a backbone of the kind '{method.backbone_kind}', not {given}",
        lambda made, node: _is_of_kind(method.backbone_kind, made, node),
    )
    channels = config.method.get("channels", config.data.get("channels"))
    if config.backbone.get("in_channels", channels) != channels:
        raise InputError(f"backbone.in_channels={config.backbone.in_channels}, but the data has {channels} channel(s)")


def _is_of_kind(kind: str, made: Any, backbone: DictConfig) -> bool:
    """Whether what `made` builds of a config is such a backbone; one that does not say its kinds may be any."""
    kinds = getattr(made, "kinds", None)
    return kinds is None or kind in {*kinds, backbone.get("head"), f"{backbone.get('pool')} of patches"}


def _count_views(transform: DictConfig) -> int:
    """The views that the config of a transform lists; 0 where it lists none."""
    return sum(chain.get("count", 1) for chain in (transform.get("views") or {}).values())
