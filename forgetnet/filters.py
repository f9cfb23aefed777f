"""Filters as data: which records a verb is about.

A filter is a dict over the fields of a record, as ``{"topic": "health", "metadata.lang": "de"}``,
with the operators ``$eq $ne $gt $gte $lt $lte $in $nin $contains`` on a field and
``$and $or $not`` over filters. Values are compared, never pasted into a query language, so a
subject called ``x' OR 1=1 --`` names only itself. Knows nothing of engines.

A record without the field (or with another type of value) matches only ``$ne``, ``$nin`` and
``{"field": None}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from forgetnet.errors import InvalidScope
from forgetnet.record import Record

__all__ = ["FIELDS", "Filter", "Predicate", "compile_filter", "required", "under"]

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


def _comparable(a: object, b: object) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool)
    if isinstance(a, int | float) and isinstance(b, int | float):
        return True
    return isinstance(a, str) and isinstance(b, str) or (
        isinstance(a, datetime) and isinstance(b, datetime)
    )


def _equal(a: object, b: object) -> bool:
    if isinstance(a, tuple):
        return isinstance(b, list | tuple) and list(a) == list(b)
    if isinstance(a, bool) is not isinstance(b, bool):
        return False
    return a == b


def _contains(a: Any, b: object) -> bool:
    if isinstance(a, str):
        return isinstance(b, str) and b in a
    if isinstance(a, list | tuple):
        return any(_equal(item, b) for item in a)
    return isinstance(a, dict) and isinstance(b, str) and b in a


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


def _check_value(name: str, operator: str, value: Any) -> None:
    if operator in ("$in", "$nin") and not isinstance(value, list | tuple | set | frozenset):
        raise InvalidScope(f"{operator} on {name[:80]!r} needs a list of values")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise InvalidScope(f"{operator} on {name[:80]!r} needs a time with a time zone")
    if operator in ("$gt", "$gte", "$lt", "$lte") and not isinstance(
        value, int | float | str | datetime
    ):
        raise InvalidScope(f"{operator} on {name[:80]!r} needs a number, a string or a time")


def _field(name: str, condition: Any) -> Predicate:
    get = _getter(name)
    if not isinstance(condition, Mapping):
        _check_value(name, "$eq", condition)
        return lambda record: _equal(get(record), condition)
    if not condition:
        raise InvalidScope(f"the condition on {name[:80]!r} is empty")
    tests = []
    for operator, value in condition.items():
        if operator == "$not":
            inner = _field(name, value)
            tests.append(lambda record, inner=inner: not inner(record))
            continue
        if operator not in _OPERATORS:
            raise InvalidScope(
                f"unknown operator {str(operator)[:80]!r}; there are {', '.join(_OPERATORS)}, "
                "$and, $or and $not"
            )
        _check_value(name, operator, value)
        compare = _OPERATORS[operator]
        tests.append(lambda record, c=compare, v=value: c(get(record), v))
    return _all(tests)


def _all(tests: list[Predicate]) -> Predicate:
    if len(tests) == 1:
        return tests[0]
    return lambda record: all(test(record) for test in tests)


def compile_filter(where: Filter | None) -> Predicate:
    """Turn a filter into a function of a record; None matches every record.

    Raises:
        InvalidScope: an unknown field or operator, an empty filter, or a value of a wrong kind.
    """
    if where is None:
        return lambda _: True
    if not isinstance(where, Mapping) or not where:
        raise InvalidScope(
            "a filter is a dict with at least one condition, as {'subject': 'ann'}; "
            "leave it out to mean every record"
        )
    tests: list[Predicate] = []
    for name, condition in where.items():
        if name in ("$and", "$or"):
            if not isinstance(condition, list | tuple) or not condition:
                raise InvalidScope(f"{name} needs a list of at least one filter")
            parts = [compile_filter(part) for part in condition]
            joined = all if name == "$and" else any
            tests.append(lambda r, parts=parts, joined=joined: joined(p(r) for p in parts))
        elif name == "$not":
            inner = compile_filter(condition)
            tests.append(lambda record, inner=inner: not inner(record))
        else:
            tests.append(_field(str(name), condition))
    return _all(tests)


def under(path: str) -> dict[str, Any]:
    """Build the filter of a topic and everything below it: the path witness."""
    return {"$or": [{"topic": path}, {"topic": {"$gte": path + "/", "$lt": path + "0"}}]}


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
    many = name in ("mentions", "derived_from")
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
