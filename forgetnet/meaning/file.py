"""The file of a scope: ids, margins and numbers as JSON, without any text of records.

Reading is strict, and what was altered is refused: the digest covers all of it, and the seal, which
only the memory can check, what was proposed. Knows nothing of how margins come about.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetnet.errors import InvalidScope, ReceiptInvalid
from forgetnet.forget.openings import salt_bytes, write_file
from forgetnet.forget.proposal import METHODS
from forgetnet.forget.strict import fields, hexadecimal, natural, one_of, rows
from forgetnet.forget.strict import read as strictly
from forgetnet.given import path_of
from forgetnet.meaning.concept import Method
from forgetnet.meaning.conformal import Miss
from forgetnet.meaning.scope import Opening, Ranked, Scope, plain

if TYPE_CHECKING:
    from forgetnet.meaning.verbs import Scopes

__all__ = ["read", "write"]

_FORMAT = "forgetnet scope v1"
_WHAT = "the file of a scope"
_COUNTS = ("recall_ppm", "looked_at", "compared", "restricted", "expired")
_LISTS = ("proposed", "below", "added")
_NAMES = [
    "format", *_COUNTS, "threshold", "method", "miss", *_LISTS, "histogram", "near", "dropped",
    "confirmed", "commitment", "seal", "digest", "query",
]  # fmt: skip
_MISS = ("estimate", "low", "high", "units")


def write(scope: Scope, path: str | Path, *, query: bool) -> None:
    """Write a scope durably, for its owner only.

    Raises:
        InvalidScope: the query isn't known any more.
        StoreError: the file can't be written.
    """
    if query and scope.opening is None:
        raise InvalidScope("what was asked isn't known any more; save it without query=True")
    opening = scope.opening if query else None
    told: dict[str, Any] = {
        "format": _FORMAT,
        **{name: getattr(scope, name) for name in _COUNTS},
        "threshold": scope.threshold.hex(),
        "method": scope.method,
        "miss": None if scope.miss is None else asdict(scope.miss),
        **{name: plain(getattr(scope, name)) for name in _LISTS},
        "histogram": [[low.hex(), count] for low, count in scope.histogram],
        "near": list(scope.near),
        "dropped": list(scope.dropped),
        "confirmed": scope.confirmed,
        "commitment": scope.commitment,
        "seal": scope.seal,
        "digest": scope.digest,
        "query": opening and {"text": opening.query, "salt": opening.salt.hex()},
    }
    write_file(path, (json.dumps(told, indent=1) + "\n").encode("ascii"), "the scope")


def read(path: str | Path, memory: Scopes | None) -> Scope:
    """Read a scope, and ask its memory whether it is its own.

    Raises:
        InvalidScope: there is none in the file, it was altered, or another memory proposed it.
    """
    given = path_of(path, "the file of a scope", InvalidScope)
    try:
        scope = _scope(fields(strictly(given.read_bytes(), _WHAT), _NAMES, _WHAT), memory)
    except OSError as error:
        raise InvalidScope(f"can't read the scope {given}: {error.strerror}") from error
    except ReceiptInvalid as error:
        raise InvalidScope(f"{given} is no scope, or was altered: {error}") from None
    if memory is not None:
        memory._check_own(scope)  # noqa: SLF001 - its memory's
    return scope


def _scope(told: dict[str, Any], memory: Scopes | None) -> Scope:
    """Make a scope of what a file says; raises ``ReceiptInvalid`` if that is none."""
    one_of(told["format"], [_FORMAT], "the format")
    opening = _opening(told["query"])
    if not isinstance(told["confirmed"], bool):
        raise ReceiptInvalid("whether it was confirmed is neither true nor false")
    counts: dict[str, Any] = {name: natural(told[name], name) for name in _COUNTS}
    lists: dict[str, Any] = {name: tuple(map(_ranked, rows(told[name], name))) for name in _LISTS}
    method: Method = one_of(told["method"], METHODS, "the method")  # type: ignore[assignment] # just looked at
    scope = Scope(
        **counts,
        threshold=_number(told["threshold"]),
        method=method,
        miss=_miss(told["miss"]),
        **lists,
        histogram=tuple(map(_bin, rows(told["histogram"], "the histogram"))),
        near=_strings(told["near"]),
        dropped=_strings(told["dropped"]),
        confirmed=told["confirmed"],
        commitment=hexadecimal(told["commitment"], 32, 32, "the commitment"),
        seal=hexadecimal(told["seal"], 32, 32, "the seal"),
        opening=opening,
        _home=memory,
    )
    ids = [one.id for one in (*scope.proposed, *scope.below)]
    added = [one.id for one in scope.added]
    if len(set(ids)) < len(ids) or len(set(scope.ids)) < len(scope.ids):
        raise ReceiptInvalid("an id comes twice")
    if not set(scope.dropped) <= {one.id for one in scope.proposed} or len(set(added)) < len(added):
        raise ReceiptInvalid("what was dropped wasn't proposed")
    if scope.digest != told["digest"]:
        raise ReceiptInvalid("its digest is not the one of what it says")
    if opening is not None and opening.commitment != scope.commitment:
        raise ReceiptInvalid("the query is not the one that it was made for")
    scope.proposal  # noqa: B018 - refuses numbers that don't fit each other
    return scope


def _number(value: Any) -> float:
    try:
        return float.fromhex(value)
    except (TypeError, ValueError, OverflowError):
        raise ReceiptInvalid("a margin is not a number in hexadecimal") from None


def _ranked(value: Any) -> Ranked:
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        raise ReceiptInvalid("a record is not an id, a margin and a hash")
    return Ranked(value[0], _number(value[1]), hexadecimal(value[2], 16, 16, "a hash"))


def _bin(value: Any) -> tuple[float, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ReceiptInvalid("a bin of the histogram is not a margin and a count")
    return _number(value[0]), natural(value[1], "a count")


def _strings(value: Any) -> tuple[str, ...]:
    told = rows(value, "a list of ids")
    if not all(isinstance(each, str) for each in told):
        raise ReceiptInvalid("an id is not a string")
    return tuple(told)


def _miss(value: Any) -> Miss | None:
    if value is None:
        return None
    return Miss(**{n: natural(v, "a share") for n, v in fields(value, _MISS, "the miss").items()})


def _opening(value: Any) -> Opening | None:
    if value is None:
        return None
    told = fields(value, ["text", "salt"], "the query")
    if not isinstance(told["text"], str):
        raise ReceiptInvalid("the query is not a string")
    return Opening(told["text"], salt_bytes(told["salt"]))
