"""Whether values are of the kinds that were declared for them: one check for all settings.

Reads the annotations that are there anyway. Knows nothing of what a setting means.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from forgetnet.errors import InvalidRecord

__all__ = ["check_declared", "check_kind"]

_PLAIN: Mapping[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("True or False", (bool, np.bool_)),
    int: ("a whole number", (Integral,)),
    float: ("a number", (Real,)),
    str: ("a string", (str,)),
    types.NoneType: ("None", (types.NoneType,)),
}


def check_declared(settings: Any) -> None:
    """Refuse a dataclass that holds another kind of value than a field's annotation allows.

    Raises:
        InvalidRecord: with the name of the field; never with the value.
    """
    own: Any = type(settings)
    for name, kind in _declared(own).items():
        check_kind(name, getattr(settings, name), kind)


def check_kind(name: str, value: Any, kind: Any, such_as: str = "") -> None:
    """Refuse a value of another kind than an annotation.

    Args:
        name: of the argument.
        value: what was given for it.
        kind: any annotation; a protocol counts if it is checked at run time.
        such_as: something that would fit, for the message.

    Raises:
        InvalidRecord: it doesn't fit.
    """
    if (wrong := _misfit(value, kind)) is None:
        return
    where, part, wanted = wrong
    example = f", such as {such_as}" if such_as else ""
    place = f"{name}{where}"
    equals = "=" if place.isidentifier() else ""
    raise InvalidRecord(f"{place}{equals} is {_told(wanted)}{example}, not {_shown(part)}")


@functools.cache
def _declared(kind: Any) -> Mapping[str, Any]:
    try:
        hints = get_type_hints(kind)
    except NameError:  # of a class whose annotations nobody can read: nothing is declared
        return {}
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


def _misfit(value: Any, kind: Any) -> tuple[str, Any, Any] | None:
    """Return where in a value something else is, what, and what belongs there; None if nothing."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return None
    if origin in {Union, types.UnionType}:
        found = [_misfit(value, part) for part in parts]
        inner = [wrong for wrong in found if wrong is not None and wrong[0]]
        return None if None in found else (inner[0] if inner else ("", value, kind))
    if origin is Literal:
        simple = isinstance(value, str | int)
        return None if simple and value in parts else ("", value, kind)
    if kind in _PLAIN:
        truth = kind in {int, float} and isinstance(value, bool)
        return ("", value, kind) if truth or not isinstance(value, _PLAIN[kind][1]) else None
    if origin is Callable:
        return None if callable(value) else ("", value, kind)
    whole: Any = kind if origin is None else origin
    if not isinstance(whole, type):
        return None
    text = isinstance(value, str | bytes) and not issubclass(whole, str | bytes)
    if text or isinstance(value, type) or not _is_one(value, whole):
        return ("", value, kind)
    if parts and issubclass(whole, Collection) and not issubclass(whole, Mapping):
        each = parts[0] if len(set(parts) - {Ellipsis}) == 1 else Any
        for number, part in enumerate(value):
            if (wrong := _misfit(part, each)) is not None:
                return (f"[{number}]{wrong[0]}", *wrong[1:])
    return None


def _is_one(value: Any, kind: type) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol for type checkers alone: nothing can be told
        return True


def _told(kind: Any) -> str:
    """Say what an annotation allows."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return _either([_told(part) for part in parts])
    if origin is Literal:
        return _either([repr(part) for part in parts])
    if kind in _PLAIN:
        return _PLAIN[kind][0]
    if origin is Callable:
        return "a function"
    return _a(getattr(kind if origin is None else origin, "__name__", "value"))


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _shown(value: Any) -> str:
    """Say what a value is, without its contents."""
    if isinstance(value, type):
        return f"the class {value.__name__}; make one of it: {value.__name__}(...)"
    return "None" if value is None else _a(type(value).__name__)
