"""Unlearners by name: ours, and those that other packages register.

Third parties offer classes under the entry-point group ``forgetnet.unlearners``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from importlib.metadata import entry_points
from typing import Any, TypeVar, get_args

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.unlearn.config import Guarantee

__all__ = ["available", "get", "register"]

T = TypeVar("T", bound=type[Any])
_KNOWN: dict[str, type[Any]] = {}


def register(name: str) -> Callable[[T], T]:
    """Return a decorator that makes a class known by a name.

    Raises:
        Unsupported: the name is taken by another class.
    """

    def remember(kind: T) -> T:
        if _KNOWN.get(name, kind) is not kind:
            raise Unsupported(f"an unlearner called {name!r} is there already")
        _KNOWN[name] = kind
        return kind

    return remember


def _all() -> dict[str, type[Any]]:
    offered = {point.name: point for point in entry_points(group="forgetnet.unlearners")}
    found = {name: point.load() for name, point in offered.items() if name not in _KNOWN}
    return {**found, **_KNOWN}


def available(*, guarantee: str | None = None) -> list[str]:
    """List the names of unlearners; of those with a guarantee only, if one is given.

    Raises:
        InvalidRecord: there is no such guarantee.
    """
    if guarantee is not None and guarantee not in get_args(Guarantee):
        raise InvalidRecord(f"guarantee= is one of {', '.join(get_args(Guarantee))}, or None")
    kinds = _all().items()
    return sorted(n for n, kind in kinds if guarantee is None or kind.guarantee == guarantee)


def get(name: str, **settings: Any) -> Any:
    """Make an unlearner by its name.

    Raises:
        InvalidRecord: it has no such setting, or one makes no sense.
        Unsupported: there is none of that name.
    """
    kinds = _all()
    if name not in kinds:
        raise Unsupported(
            f"no unlearner is called {name[:80]!r}; there are {', '.join(sorted(kinds))}"
        )
    known = {f.name for f in fields(kinds[name]) if f.init} if is_dataclass(kinds[name]) else None
    if known is not None and (unknown := settings.keys() - known):
        told = ", ".join(sorted(unknown))
        raise InvalidRecord(f"{name} has no setting {told}; it has {', '.join(sorted(known))}")
    return kinds[name](**settings)
