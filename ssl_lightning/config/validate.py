"""A config is a set of constructor calls: keys and values are held against the signatures before anything is built."""

import difflib
import inspect
import types
import typing
from typing import Any

from hydra.utils import get_class, get_object
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.config.trust import validate_targets
from ssl_lightning.errors import InputError

_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


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
    constructor = get_object(config._target_)
    parameters = inspect.signature(constructor).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    hints = _hints(constructor.__init__ if inspect.isclass(constructor) else constructor)
    for name in config:
        if str(name).startswith("_"):
            continue
        if name not in parameters and not open_ended:
            near = difflib.get_close_matches(str(name), list(parameters), n=1)
            raise InputError(
                f"{key}.{name!s} is not an argument of {config._target_}"
                + (f"; did you mean {near[0]}?" if near else "")
            )
        value = config[name]
        if name in hints and isinstance(value, int | float | str | bool | None) and not _fits(value, hints[name]):
            raise InputError(f"{key}.{name!s}={value} is not {_describe(hints[name])}")


def _hints(function: Any) -> dict[str, Any]:
    """Type hints; none where some are written as names that only a type checker knows."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value fits a type hint; hints that are not made of plain types fit anything but a text."""
    options = _options(hint)
    if typing.Any in options:
        return True
    literals = [choice for option in options for choice in typing.get_args(option) if _is_literal(option)]
    if literals:
        return value in literals or (value is None and type(None) in options)
    if type(value) is int and float in options:
        return True
    if type(value) in options:
        return True
    return not isinstance(value, str) and not all(option in _PLAIN or option is type(None) for option in options)


def _options(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(option for part in typing.get_args(hint) for option in _options(part))
    return (hint,)


def _is_literal(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Literal


def _describe(hint: Any) -> str:
    parts = []
    for option in _options(hint):
        if _is_literal(option):
            parts += [repr(choice) for choice in typing.get_args(option)]
        else:
            parts.append(
                "null" if option is type(None) else _PLAIN.get(option, getattr(option, "__name__", str(option)))
            )
    return " or ".join(dict.fromkeys(parts))


def validate_config(config: DictConfig) -> None:
    """All that can be seen to be wrong before anything is built.

    Raises:
        InputError: a target that is not trusted, a wrong key or value, or parts that do not fit each other.
    """
    validate_targets(config)
    validate_compatibility(config)
    validate_arguments(config)
    smallest = _class(config.method._target_).min_batch_size
    if 0 < config.data.batch_size < smallest:
        raise InputError(f"method {_short(_class(config.method._target_))} needs data.batch_size={smallest} or more")
    if not 0 <= config.seed < 2**32:
        raise InputError(f"seed={config.seed} is not a whole number from 0 to 2^32 - 1")


def validate_compatibility(config: DictConfig) -> None:
    """Data and transform must give the batch keys that the method reads.

    Raises:
        InputError: some are missing; the message names the data and transforms that would fit.
    """
    method, transform, data = (_class(config[part]._target_) for part in ("method", "transform", "data"))
    for part, cls, declared in (
        ("method", method, "requires"),
        ("transform", transform, "produces"),
        ("data", data, "provides"),
    ):
        if not hasattr(cls, declared):
            raise InputError(f"{part} {_short(cls)} does not declare `{declared}`, the keys of a batch, as others do")
    if not set(transform.requires) <= set(data.provides):
        fitting = _choices("data", lambda made: set(transform.requires) <= set(made.provides))
        raise InputError(
            f"transform {_short(transform)} reads {_list(transform.requires)}, which data {_short(data)} does not give;"
            f" data that fits: {_list(fitting)}"
        )
    if not set(method.requires) <= {*data.provides, *transform.produces}:
        fitting = _choices("transform", lambda made: set(method.requires) <= {*data.provides, *made.produces})
        raise InputError(
            f"method {_short(method)} reads {_list(method.requires)}, which {_short(transform)} does not make;"
            f" transforms that fit: {_list(fitting)}"
        )
    made = _count_views(config.transform)
    if "views" in method.requires and made and method.views not in (None, made):
        fitting = _choices("transform", lambda made: set(method.requires) <= {*data.provides, *made.produces})
        counts = {name: _count_views(OmegaConf.load(CONFIG_DIR / "transform" / f"{name}.yaml")) for name in fitting}
        raise InputError(
            f"method {_short(method)} takes {method.views} view{'s'[: method.views > 1]} of an image, and the transform"
            f" makes {made}; transforms that fit: {_list(name for name in fitting if counts[name] == method.views)}"
        )


def _count_views(transform: Any) -> int:
    """The views that the config of a transform lists; 0 where it lists none."""
    return len(transform.get("views") or ())


def methods_that_declare(hook: str) -> str:
    """The names of the methods that declare an optional part of `Method`, as a list to read."""
    files = sorted((CONFIG_DIR / "method").glob("*.yaml"))
    return _list(file.stem for file in files if _class(OmegaConf.load(file).method._target_).declares(hook))


def _class(target: str) -> Any:
    try:
        return get_class(target)
    except ValueError as error:
        raise InputError(f"{target} is not a class") from error


def _choices(group: str, fits: Any) -> list[str]:
    names = (file.stem for file in sorted((CONFIG_DIR / group).glob("*.yaml")))
    return [name for name in names if not name.startswith("_") and fits(_class(_target(group, name)))]


def _target(group: str, name: str) -> str:
    """The `_target_` of a choice, its own or that of the choice it is based on."""
    choice = OmegaConf.load(CONFIG_DIR / group / f"{name}.yaml")
    assert isinstance(choice, DictConfig)
    if "_target_" in choice:
        return str(choice._target_)
    return _target(group, next(base for base in choice.defaults if base != "_self_"))


def _short(cls: type) -> str:
    return cls.__name__


def _list(names: Any) -> str:
    return ", ".join(names) or "none"
