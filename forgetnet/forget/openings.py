"""Salted commitments, and the openings that let a holder show what they stand for.

A commitment is HMAC-SHA256 with a fresh random 32-byte key, so nobody without that key learns or
guesses what is behind it, however few candidates there are. The openings are personal data: they
are never part of a receipt, and destroying them makes the receipt say nothing about anybody.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from forgetnet.errors import ReceiptInvalid, StoreError
from forgetnet.files import write_durable
from forgetnet.forget.strict import fields, hexadecimal, read, rows
from forgetnet.given import path_of

__all__ = [
    "SALT_BYTES",
    "Commitments",
    "Kind",
    "Openings",
    "commitment",
    "salt_bytes",
    "write_file",
]

Kind: TypeAlias = Literal["record", "missing", "scope", "reason", "query"]
"""What a commitment is about: a record that matched, an id that wasn't found, what the scope
named, the caller's reason, what a scope by meaning was asked for. A commitment of one kind never
opens as another."""

SALT_BYTES = 32
_FORMAT = "forgetnet openings v1"


def write_file(path: str | Path, data: bytes, what: str) -> None:
    """Write a file durably, for its owner only; raises ``StoreError`` if it can't be written."""
    path = path_of(path, what, StoreError)
    try:
        write_durable(path, data)
    except OSError as error:
        raise StoreError(
            f"can't write {what} to {path}: {error.strerror}; name a file in a folder that is "
            "there and can be written"
        ) from error


def commitment(kind: Kind, value: str, salt: bytes) -> str:
    """Return HMAC-SHA256(salt, kind || 0 || value) in hex; lone surrogates are values too."""
    message = f"forgetnet {kind} v1".encode("ascii") + b"\x00"
    message += value.encode("utf-8", "surrogatepass")
    return hmac.digest(salt_bytes(salt), message, "sha256").hex()


def salt_bytes(opening: bytes | str) -> bytes:
    """Return a salt given as 32 bytes or as their hex; raises ``ReceiptInvalid`` otherwise."""
    if isinstance(opening, bytes) and len(opening) == SALT_BYTES:
        return opening
    return bytes.fromhex(hexadecimal(opening, SALT_BYTES, SALT_BYTES, "the opening"))


@dataclass(frozen=True, slots=True)
class Commitments:
    """What a receipt says in place of ids, names and reasons, in hex; says nothing by itself.

    Attributes:
        matched, missing: one for each record and each id that wasn't found, sorted.
        scope, reason: to what the scope named, and to the caller's reason.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    scope: str
    reason: str

    def to_plain(self) -> dict[str, Any]:
        """Return them as plain JSON."""
        told: dict[str, Any] = {"matched": list(self.matched), "missing": list(self.missing)}
        return {**told, "scope": self.scope, "reason": self.reason}

    @classmethod
    def from_plain(cls, value: Any) -> Commitments:
        """Read what ``to_plain`` wrote; raises ``ReceiptInvalid`` if it is something else."""
        what = "the commitments"
        told = fields(value, ["matched", "missing", "scope", "reason"], what)
        many = [tuple(_digest(i) for i in rows(told[n], what)) for n in ("matched", "missing")]
        return cls(many[0], many[1], _digest(told["scope"]), _digest(told["reason"]))


def _digest(value: Any) -> str:
    return hexadecimal(value, 32, 32, "a commitment")


@dataclass(frozen=True)
class Openings:
    """Everything that turns a receipt's commitments back into words; private.

    Attributes:
        receipt: id of the receipt that these belong to.
        records: salt by id of each record that matched.
        missing: salt by id of each id that was asked for and not found.
        scope: what the scope named (a subject, a topic, a filter), and its salt.
        reason: the caller's reason, and its salt.
    """

    receipt: str
    records: Mapping[str, bytes] = field(repr=False)
    missing: Mapping[str, bytes] = field(repr=False)
    scope: tuple[str, bytes] = field(repr=False)
    reason: tuple[str, bytes] = field(repr=False)

    @classmethod
    def draw(
        cls,
        receipt: str,
        records: Iterable[str],
        missing: Iterable[str],
        scope: str,
        reason: str,
        *,
        randomness: Callable[[int], bytes] = secrets.token_bytes,
    ) -> Openings:
        """Draw a fresh salt for each value; the ids must be distinct."""
        return cls(
            receipt,
            {id: randomness(SALT_BYTES) for id in records},
            {id: randomness(SALT_BYTES) for id in missing},
            (scope, randomness(SALT_BYTES)),
            (reason, randomness(SALT_BYTES)),
        )

    def commit(self) -> Commitments:
        """Return the commitments that these open."""
        return Commitments(
            _all("record", self.records),
            _all("missing", self.missing),
            commitment("scope", *self.scope),
            commitment("reason", *self.reason),
        )

    def save(self, path: str | Path) -> None:
        """Write them durably as JSON that only the owner of the file may read.

        Raises ``StoreError`` if the file can't be written.
        """
        told = {
            "format": _FORMAT,
            "receipt": self.receipt,
            "records": _pairs(self.records),
            "missing": _pairs(self.missing),
            "scope": _pairs(dict([self.scope])),
            "reason": _pairs(dict([self.reason])),
        }
        write_file(path, (json.dumps(told, indent=1) + "\n").encode("ascii"), "the openings")

    @classmethod
    def load(cls, path: str | Path) -> Openings:
        """Read a file of ``save``; raises ``ReceiptInvalid`` if it isn't one."""
        try:
            given = path_of(path, "the file of openings", ReceiptInvalid)
            data = read(given.read_bytes(), "the file of openings")
        except OSError as error:
            raise ReceiptInvalid(f"can't read the openings {path}: {error.strerror}") from error
        names = ["format", "receipt", "records", "missing", "scope", "reason"]
        told = fields(data, names, "the file of openings")
        if told["format"] != _FORMAT:
            raise ReceiptInvalid(f"the file of openings is not in the format {_FORMAT}")
        receipt = hexadecimal(told["receipt"], 16, 16, "the receipt of the openings")
        read_pairs = {name: _unpaired(told[name], name) for name in names[2:]}
        for name in ("scope", "reason"):
            if len(read_pairs[name]) != 1:
                raise ReceiptInvalid(f"the file of openings should open one {name}")
        return cls(
            receipt,
            read_pairs["records"],
            read_pairs["missing"],
            next(iter(read_pairs["scope"].items())),
            next(iter(read_pairs["reason"].items())),
        )


def _all(kind: Kind, salts: Mapping[str, bytes]) -> tuple[str, ...]:
    return tuple(sorted(commitment(kind, id, salt) for id, salt in salts.items()))


def _pairs(salts: Mapping[str, bytes]) -> list[dict[str, str]]:
    return [{"value": value, "salt": salt.hex()} for value, salt in salts.items()]


def _unpaired(value: Any, name: str) -> dict[str, bytes]:
    pairs = [fields(pair, ["value", "salt"], f"an opening of {name}") for pair in rows(value, name)]
    if not all(isinstance(pair["value"], str) for pair in pairs):
        raise ReceiptInvalid(f"an opening of {name} has a value that is not a string")
    return {pair["value"]: salt_bytes(pair["salt"]) for pair in pairs}
