"""What can be said behind a command: options that several commands share, and their values.

Knows nothing of what the commands do with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

__all__ = [
    "AsJson",
    "DerivedFrom",
    "EncoderName",
    "Expires",
    "KeyFile",
    "Mentions",
    "Metadata",
    "Store",
    "Subject",
    "Topic",
    "filter_of",
    "metadata_of",
    "moment_of",
]

Store: TypeAlias = Annotated[
    str,
    typer.Option(
        "--store", metavar="PATH", envvar="FORGETNET_STORE", help="Folder or URL of the memory."
    ),
]
EncoderName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME",
        help="minilm, hash, or a sentence-transformers name or path; by default the memory's own, "
        "and minilm for a new one.",
    ),
]
KeyFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="The memory's secret key, in hexadecimal; by default the file in its folder.",
    ),
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Answer with one JSON object on stdout.")
]
Subject: TypeAlias = Annotated[
    str | None, typer.Option("--subject", metavar="NAME", help="Whose data it is.")
]
Topic: TypeAlias = Annotated[
    str | None,
    typer.Option("--topic", metavar="PATH", help="Where it is filed, as health/allergies."),
]
Metadata: TypeAlias = Annotated[
    str | None, typer.Option("--metadata", metavar="JSON", help="Further values, a JSON object.")
]
Mentions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--mentions", metavar="NAME", help="Another whom it is about; may be repeated."),
]
DerivedFrom: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--derived-from", metavar="ID", help="A record that it was made from; may be repeated."
    ),
]
Expires: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--expires-at",
        metavar="TIME",
        help="When it becomes invisible and due for sweep, as 2030-01-31T12:00:00Z.",
    ),
]

_TIMES = ("created_at", "expires_at")


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        place = f" (column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise typer.BadParameter(f"{option} is not JSON{place}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{option} is not a JSON object, as {{...}}")
    return value


def metadata_of(text: str | None) -> dict[str, Any] | None:
    """Read the value of ``--metadata``."""
    return None if text is None else _object(text, "--metadata")


def moment_of(text: str | None, option: str = "--expires-at") -> datetime | None:
    """Read a time in ISO 8601 with its zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{option} is not a time in ISO 8601, as 2030-01-31T12:00:00Z"
        ) from None
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{option} has no time zone; end it with Z for UTC")
    return moment.astimezone(UTC)


def filter_of(text: str | None) -> dict[str, Any] | None:
    """Read the value of ``--filter``; times in it are ISO 8601."""
    return None if text is None else _timed(_object(text, "--filter"))


def _timed(where: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the strings that stand against a time into times."""
    told: dict[str, Any] = {}
    for name, condition in where.items():
        if name in ("$and", "$or") and isinstance(condition, list):
            told[name] = [_timed(part) if isinstance(part, dict) else part for part in condition]
        elif name == "$not" and isinstance(condition, dict):
            told[name] = _timed(condition)
        else:
            told[name] = _moments(condition) if name in _TIMES else condition
    return told


def _moments(value: Any) -> Any:
    if isinstance(value, str):
        return moment_of(value, "a time in --filter")
    if isinstance(value, list):
        return [_moments(item) for item in value]
    if isinstance(value, dict):
        return {operator: _moments(item) for operator, item in value.items()}
    return value
