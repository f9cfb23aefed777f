"""Reading JSON that somebody else may have altered: only what is expected gets through.

It knows how to refuse (duplicate keys, floats, unknown or missing fields, words and digests of
the wrong form) and not what the fields mean. Every refusal is a ``ReceiptInvalid`` whose message
names the field and never repeats its value.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Iterable
from typing import Any, NoReturn

from forgetnet.errors import ReceiptInvalid

__all__ = [
    "base64_bytes",
    "fields",
    "hexadecimal",
    "name",
    "natural",
    "one_of",
    "plain",
    "read",
    "rows",
]

_LARGEST = 2**53 - 1  # what every JSON reader holds without rounding
_PLAIN = re.compile(r"[A-Za-z0-9 ,.;:()/+='_-]*")
_NAME = re.compile(r"[a-z][a-z0-9 -]{0,39}")
_HEX = re.compile(r"(?:[0-9a-f]{2})+")


def read(data: bytes | str, what: str) -> Any:
    """Parse JSON that holds no duplicate key, no fraction and no NaN, as UTF-8."""

    def refuse(_: str) -> NoReturn:
        raise ReceiptInvalid(f"{what} holds a number that isn't whole")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ReceiptInvalid(f"{what} has the same key twice")
        return found

    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return json.loads(text, object_pairs_hook=unique, parse_float=refuse, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise ReceiptInvalid(f"{what} is not JSON in UTF-8") from None


def fields(value: Any, names: Collection[str], what: str) -> dict[str, Any]:
    """Return an object that has exactly these fields."""
    if not isinstance(value, dict):
        raise ReceiptInvalid(f"{what} is not an object")
    if value.keys() != set(names):
        missing = sorted(set(names) - value.keys())
        told = f"lacks {', '.join(missing)}" if missing else "has a field it shouldn't have"
        raise ReceiptInvalid(f"{what} {told}")
    return value


def rows(value: Any, what: str) -> list[Any]:
    """Return an array."""
    if not isinstance(value, list):
        raise ReceiptInvalid(f"{what} is not an array")
    return value


def natural(value: Any, what: str) -> int:
    """Return a whole number from 0 to 2^53 - 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise ReceiptInvalid(f"{what} is not a whole number from 0 on")
    return value


def one_of(value: Any, words: Iterable[str], what: str) -> str:
    """Return a string that is one of the given words."""
    allowed = list(words)
    if not isinstance(value, str) or value not in allowed:
        raise ReceiptInvalid(f"{what} is none of: {', '.join(allowed)}")
    return value


def plain(value: Any, longest: int, what: str) -> str:
    """Return a string of ASCII letters, digits, blanks and ``,.;:()/+='_-`` up to a length."""
    if not isinstance(value, str) or len(value) > longest or not _PLAIN.fullmatch(value):
        raise ReceiptInvalid(
            f"{what} is not up to {longest} plain ASCII letters, digits and blanks"
        )
    return value


def name(value: Any, what: str) -> str:
    """Return a few lower-case words: a name that code chose, not data."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ReceiptInvalid(f"{what} is not a few lower-case words")
    return value


def hexadecimal(value: Any, shortest: int, longest: int, what: str) -> str:
    """Return lower-case hex of ``shortest`` to ``longest`` bytes."""
    if (
        not isinstance(value, str)
        or not 2 * shortest <= len(value) <= 2 * longest
        or not _HEX.fullmatch(value)
    ):
        raise ReceiptInvalid(f"{what} is not {shortest} to {longest} bytes in lower-case hex")
    return value


def base64_bytes(value: Any, what: str) -> bytes:
    """Return the bytes of canonical base64: padded, no blanks, no stray bits at the end."""
    if not isinstance(value, str) or not value.isascii():
        raise ReceiptInvalid(f"{what} is not base64")
    try:
        data = base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ReceiptInvalid(f"{what} is not base64") from None
    if base64.b64encode(data).decode("ascii") != value:
        raise ReceiptInvalid(f"{what} is not base64 in its one canonical form")
    return data
