"""A config is a set of constructor calls: keys and values are held against the signatures before anything is built."""

import difflib
import inspect
import types
import typing
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig

from ssl_lightning.errors import InputError

_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def refuse_wrong_values(config: DictConfig, key: str = "") -> None:
    """Walks every `_target_` of a config.

    Raises:
        InputError: a key that its constructor does not take, or a value that is not of the plain type it declares.
    """
    if config.get("_target_"):
        _check_call(config, key)
    for name in config:
        child = config._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            refuse_wrong_values(child, f"{key}.{name!s}".strip("."))


def _check_call(config: DictConfig, key: str) -> None:
    constructor = get_object(config._target_)
    parameters = inspect.signature(constructor).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    hints = typing.get_type_hints(constructor.__init__ if inspect.isclass(constructor) else constructor)
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
