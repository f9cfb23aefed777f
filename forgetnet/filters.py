"""Filters as data: which records a verb is about.

A filter is a dict over the fields of a record, as ``{"topic": "health", "metadata.lang": "de"}``,
with the operators ``$eq $ne $gt $gte $lt $lte $in $nin $contains`` on a field and
``$and $or $not`` over filters. Values are compared, never pasted into a query language, so a
subject called ``x' OR 1=1 --`` names only itself. Knows nothing of engines.

A record without the field matches only ``$ne``, ``$nin`` and ``{"field": None}``; so does one
whose metadata hold another type of value. The other fields have one type each, and a condition of
another type is refused: it would match nothing, or everything, in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from forgetnet.errors import InvalidScope
from forgetnet.record import Record

__all__ = ["FIELDS", "Filter", "Predicate", "compile_filter", "required", "under", "unexpired"]

Filter: TypeAlias = Mapping[str, Any]
Predicate: TypeAlias = Callable[[Record], bool]

FIELDS = (
    "id",
    "text",
    "subject",
    "topic",
    "mentions",
    "derived_from",
    "created_at",
    "expires_at",
)

_NAMES = ("mentions", "derived_from")
_TIMES = ("created_at", "expires_at")
_ALWAYS = ("id", "created_at")
"""What no stored record is without."""

_ORDER = ("$gt", "$gte", "$lt", "$lte")
_SETS = ("$in", "$nin")
_DEPTH = 64


def _comparable(a: object, b: object) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool)
    kinds: tuple[Any, ...] = (int | float, str, datetime)
    return any(isinstance(a, kind) and isinstance(b, kind) for kind in kinds)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, Mapping):
        return (
            isinstance(b, Mapping)
            and a.keys() == b.keys()
            and all(_equal(value, b[key]) for key, value in a.items())
        )
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def _contains(a: Any, b: object) -> bool:
    if isinstance(a, str):
        return isinstance(b, str) and b in a
    if isinstance(a, list | tuple):
        return any(_equal(item, b) for item in a)
    return isinstance(a, Mapping) and isinstance(b, str) and b in a


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda a, b: not _equal(a, b),
    "$gt": lambda a, b: _comparable(a, b) and a > b,
    "$gte": lambda a, b: _comparable(a, b) and a >= b,
    "$lt": lambda a, b: _comparable(a, b) and a < b,
    "$lte": lambda a, b: _comparable(a, b) and a <= b,
    "$in": lambda a, b: any(_equal(a, item) for item in b),
    "$nin": lambda a, b: not any(_equal(a, item) for item in b),
    "$contains": _contains,
}


def _getter(name: str) -> Callable[[Record], Any]:
    if name in FIELDS:
        return lambda record: getattr(record, name)
    if name.startswith("metadata.") and len(name) > len("metadata."):
        key = name.removeprefix("metadata.")
        return lambda record: record.metadata.get(key)
    raise InvalidScope(
        f"a filter names the field {name[:80]!r}; the fields are {', '.join(FIELDS)} "
        "and metadata.NAME"
    )


def _check_plain(name: str, operator: str, value: Any, depth: int) -> None:
    """Refuse what no record can hold: it would match nothing, silently."""
    if depth > _DEPTH:
        raise InvalidScope(f"{operator} on {name[:80]!r} has a value nested too deeply")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(name, operator, key, depth + 1)
            _check_plain(name, operator, item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(name, operator, item, depth + 1)
    elif isinstance(value, datetime):
        if value.utcoffset() is None:
            raise InvalidScope(f"{operator} on {name[:80]!r} needs a time with a time zone")
    elif value is not None and not isinstance(value, str | int | float):
        raise InvalidScope(
            f"{operator} on {name[:80]!r} has a value of type {type(value).__name__}; use strings, "
            "numbers, booleans, None, times, and lists or dicts of them"
        )


def _check_value(name: str, operator: str, value: Any) -> None:
    if operator in _SETS:
        if not isinstance(value, list | tuple | set | frozenset):
            raise InvalidScope(f"{operator} on {name[:80]!r} needs a list of values")
        value = list(value)
    if name in FIELDS:
        for item in value if operator in _SETS else [value]:
            _check_kind(name, operator, item)
    _check_plain(name, operator, value, 0)
    if operator in _ORDER and not isinstance(value, int | float | str | datetime):
        raise InvalidScope(f"{operator} on {name[:80]!r} needs a number, a string or a time")


def _check_kind(name: str, operator: str, value: Any) -> None:
    """Refuse a value that the field of no record can equal, hold or be compared with."""
    if value is None and (operator in _ORDER or operator == "$contains"):
        raise InvalidScope(f"{operator} on {name!r} needs a value, not None")
    if name in _NAMES:
        _check_names(name, operator, value)
    elif value is None:
        if name in _ALWAYS:
            raise InvalidScope(f"{name} is None in no record; leave the condition out")
    elif name in _TIMES:
        if operator == "$contains":
            raise InvalidScope(f"{name} is a time, which holds no parts; use $gte and $lt")
        if not isinstance(value, datetime):
            raise InvalidScope(
                f"{name} is a time and never a {type(value).__name__}; compare it with an aware "
                "datetime, as datetime(2026, 1, 31, tzinfo=UTC)"
            )
    elif not isinstance(value, str):
        raise InvalidScope(
            f"{name} is a string and never a {type(value).__name__}; compare it with a string"
        )


def _check_names(name: str, operator: str, value: Any) -> None:
    """Refuse what a list of names, sorted and each once, never is or holds."""
    if operator in _ORDER:
        raise InvalidScope(f"{name} is a list of names, which has no order; use $contains")
    if operator == "$contains":
        if not isinstance(value, str):
            raise InvalidScope(f"$contains on {name!r} needs one name, a string")
    elif not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        wanted = f"{{'{name}': {{'$contains': NAME}}}}"
        if operator in _SETS:
            wanted = f"{{'$or': [{wanted}, ...]}}"
        raise InvalidScope(
            f"{name} is a list of strings and never anything else; write {wanted}, or "
            f"{{'{name}': []}} for none"
        )
    elif list(value) != sorted(set(value)):
        raise InvalidScope(f"{name} is kept sorted, each name once; write the list so")


def _field(name: str, condition: Any, depth: int) -> Predicate:
    get = _getter(name)
    if not isinstance(condition, Mapping):
        return _test(name, get, "$eq", condition)
    if not condition:
        raise InvalidScope(f"the condition on {name[:80]!r} is empty")
    _check_depth(depth)
    return _all(
        [
            _not(_field(name, value, depth + 1))
            if operator == "$not"
            else _test(name, get, operator, value)
            for operator, value in condition.items()
        ]
    )


def _test(name: str, get: Callable[[Record], Any], operator: str, value: Any) -> Predicate:
    if operator not in _OPERATORS:
        raise InvalidScope(
            f"unknown operator {str(operator)[:80]!r}; there are {', '.join(_OPERATORS)}, "
            "$and, $or and $not"
        )
    _check_value(name, operator, value)
    if operator in {"$in", "$nin"} and all(isinstance(item, str) for item in value):
        names, wanted = frozenset(value), operator == "$in"
        return lambda record: _is_one_of(get(record), names) is wanted
    compare = _OPERATORS[operator]
    return lambda record: compare(get(record), value)


def _is_one_of(found: Any, names: frozenset[str]) -> bool:
    """Tell whether a value is one of many strings: what ``$in`` says, at once."""
    return isinstance(found, str) and found in names


def _all(tests: list[Predicate]) -> Predicate:
    if len(tests) == 1:
        return tests[0]
    return lambda record: all(test(record) for test in tests)


def _any(tests: list[Predicate]) -> Predicate:
    return lambda record: any(test(record) for test in tests)


def _not(test: Predicate) -> Predicate:
    return lambda record: not test(record)


def _check_depth(depth: int) -> None:
    if depth >= _DEPTH:
        raise InvalidScope(f"a filter is nested more than {_DEPTH} levels deep; write it flatter")


def compile_filter(where: Filter | None) -> Predicate:
    """Turn a filter into a function of a record; None matches every record.

    Raises:
        InvalidScope: an unknown field or operator, an empty filter, or a value of another type
            than the field's; the message says what to write and doesn't repeat the value.
    """
    if where is None:
        return lambda _: True
    return _compile(where, 0)


def _compile(where: Any, depth: int) -> Predicate:
    if not isinstance(where, Mapping) or not where:
        raise InvalidScope(
            "a filter is a dict with at least one condition, as {'subject': 'ann'}; "
            "leave it out to mean every record"
        )
    _check_depth(depth)
    tests: list[Predicate] = []
    for name, condition in where.items():
        if name in ("$and", "$or"):
            if not isinstance(condition, list | tuple) or not condition:
                raise InvalidScope(f"{name} needs a list of at least one filter")
            parts = [_compile(part, depth + 1) for part in condition]
            tests.append(_all(parts) if name == "$and" else _any(parts))
        elif name == "$not":
            tests.append(_not(_compile(condition, depth + 1)))
        else:
            tests.append(_field(str(name), condition, depth))
    return _all(tests)


def under(path: str) -> dict[str, Any]:
    """Build the filter of a topic and everything below it: the path witness."""
    return {"$or": [{"topic": path}, {"topic": {"$gte": path + "/", "$lt": path + "0"}}]}


def unexpired(moment: datetime, where: Filter | None = None) -> dict[str, Any]:
    """Build the filter of what matches and hasn't expired by a moment."""
    here = {"$not": {"expires_at": {"$lte": moment}}}
    return here if where is None else {"$and": [where, here]}


def required(where: Filter | None, name: str) -> frozenset[str] | None:
    """Return the only values of ``name`` that can match, when the filter pins them; else None.

    A store uses this to look in an index before it looks at records: ``$eq`` and ``$in`` pin a
    plain field, ``$contains`` pins ``mentions`` and ``derived_from``.
    """
    if not isinstance(where, Mapping):
        return None
    found: frozenset[str] | None = None
    for key, condition in where.items():
        if key == name:
            found = _narrower(found, _pinned(name, condition))
        elif key == "$and":
            for part in condition:
                found = _narrower(found, required(part, name))
    return found


def _narrower(a: frozenset[str] | None, b: frozenset[str] | None) -> frozenset[str] | None:
    """Pick the smaller of two sets, each of which every match must have a value in."""
    if a is None or b is None:
        return a if b is None else b
    return a if len(a) <= len(b) else b


def _pinned(name: str, condition: Any) -> frozenset[str] | None:
    many = name in _NAMES
    if isinstance(condition, str):
        return None if many else frozenset((condition,))
    if not isinstance(condition, Mapping):
        return None
    pinned: frozenset[str] | None = None
    for operator, value in condition.items():
        if operator == ("$contains" if many else "$eq") and isinstance(value, str):
            pinned = _narrower(pinned, frozenset((value,)))
        elif operator == "$in" and not many:
            if all(isinstance(item, str) for item in value):
                pinned = _narrower(pinned, frozenset(value))
    return pinned
