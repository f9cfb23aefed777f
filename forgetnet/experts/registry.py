"""Experts and routers as plain settings, so that a model can be opened from its folder alone.

Only kinds that are installed as such are revived, by name: a folder never names code to run.
Third parties register theirs under the entry-point group ``forgetnet.experts``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from forgetnet.errors import Unsupported
from forgetnet.record import canonical_json

__all__ = ["describe", "kinds", "revive"]

_NOT_SETTINGS = {"influence"}


def kinds() -> dict[str, EntryPoint]:
    """Return where the classes of all installed kinds are, by name."""
    return {point.name: point for point in entry_points(group="forgetnet.experts")}


def describe(part: object) -> dict[str, Any]:
    """Return a part's kind and settings; ``settings`` is None where they aren't JSON values."""
    kind = type(part).__name__
    settings: dict[str, Any] | None = None
    code = getattr(part, "module", None) is not None  # a folder must not name code to run
    if dataclasses.is_dataclass(part) and not isinstance(part, type) and not code:
        fields = [f.name for f in dataclasses.fields(part) if f.init]
        fields = [name for name in fields if name not in _NOT_SETTINGS]
        settings = {name: getattr(part, name) for name in fields}
        if not _comes_back(part, settings):
            settings = None
    return {"kind": kind, "settings": settings}


def _comes_back(part: Any, settings: Mapping[str, Any]) -> bool:
    """Tell whether a part made of settings that were read from JSON is the same."""
    try:
        again = type(part)(**_plain(json.loads(canonical_json(dict(settings)))))
        return canonical_json(dict(again.config())) == canonical_json(dict(part.config()))
    except (TypeError, ValueError):
        return False


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


def revive(told: Mapping[str, Any]) -> Any:
    """Return the part that :func:`describe` described.

    Raises:
        Unsupported: its kind isn't installed, or it holds what a file can't name.
    """
    known = kinds()
    if told["settings"] is None:
        raise Unsupported(
            f"the settings of {told['kind']} can't be read from a file, since they hold code or "
            "data; give the same experts and router again"
        )
    if told["kind"] not in known:
        raise Unsupported(
            f"no expert called {str(told['kind'])[:80]!r} is installed; install the package that "
            f"offers it, or give the same experts and router again; installed are "
            f"{', '.join(sorted(known))}"
        )
    return known[told["kind"]].load()(**_plain(told["settings"]))
