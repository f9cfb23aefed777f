"""What forgotten records look like, so that they can be recognised without being kept.

A trace holds salted hashes (HMAC-SHA256), so it may be journalled. Knows nothing of files.

Whoever has the salt can test a guess against a hash, so short texts are not safe in a trace: keep
it no longer than the forget takes, and shred it with its salt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord, StoreCorrupt

__all__ = ["SALT_BYTES", "Hasher", "Kind", "Remembered", "Trace", "Traces", "matrix", "trace"]

SALT_BYTES = 32

Floats = npt.NDArray[np.float32]


class Kind(StrEnum):
    """The five things by which a record is recognised."""

    ID = "id"
    TEXT = "text"
    SUBJECT = "subject"
    VECTOR = "vector"
    KEY = "key"
    """The engine's own name for a row, 8 bytes."""


class Remembered(Protocol):
    """A record, as far as it matters here."""

    @property
    def id(self) -> str:
        """The caller's name for it."""
        ...

    @property
    def text(self) -> str | None:
        """What was remembered."""
        ...

    @property
    def subject(self) -> str | None:
        """Whose it was."""
        ...


class Hasher:
    """HMAC-SHA256 (RFC 2104) under one salt, whose two keyed states are made only once."""

    def __init__(self, salt: bytes) -> None:
        if len(salt) != SALT_BYTES:
            raise InvalidRecord(f"a salt has {SALT_BYTES} bytes; this one has {len(salt)}")
        block = salt.ljust(hashlib.sha256().block_size, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def of(self, value: bytes) -> bytes:
        """Return the hash of some bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(value)
        outer.update(inner.digest())
        return outer.digest()

    def name(self, value: str) -> bytes:
        """Return the hash of a string's UTF-8; half a surrogate pair is a value too."""
        return self.of(value.encode("utf-8", "surrogatepass"))

    def key(self, value: int) -> bytes:
        """Return the hash of a row key's 8 bytes."""
        return self.of(value.to_bytes(8, "little"))


@dataclass(frozen=True, slots=True)
class Trace:
    """Hashes of one record: of its id, and of what else it has.

    ``keys`` are of all rows that hold it; empty until a scan has learnt them.
    """

    id: bytes
    text: bytes | None = None
    subject: bytes | None = None
    vector: bytes | None = None
    keys: tuple[bytes, ...] = ()

    def marks(self) -> Iterator[tuple[Kind, bytes]]:
        """Iterate over its kinds and hashes."""
        yield Kind.ID, self.id
        for kind, digest in (
            (Kind.TEXT, self.text),
            (Kind.SUBJECT, self.subject),
            (Kind.VECTOR, self.vector),
        ):
            if digest is not None:
                yield kind, digest
        for key in self.keys:
            yield Kind.KEY, key


@dataclass(frozen=True, slots=True)
class Traces:
    """The traces of one forget, under one salt.

    Attributes:
        salt: 32 random bytes.
        items: one trace for each record.
        dim: length of the content vectors; 0 when there are none.
    """

    salt: bytes = field(repr=False)
    items: tuple[Trace, ...] = field(repr=False)
    dim: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def lookup(self) -> dict[bytes, frozenset[Kind]]:
        """Return the kinds that each hash stands for."""
        found: dict[bytes, frozenset[Kind]] = {}
        for kind, digest in self.marks():
            found[digest] = found.get(digest, frozenset()) | {kind}
        return found

    def marks(self) -> set[tuple[Kind, bytes]]:
        """Return all the kinds and hashes: what a scan with power finds while they are there."""
        return {mark for item in self.items for mark in item.marks()}

    def expected(self) -> dict[Kind, int]:
        """Count the distinct hashes of each kind."""
        kinds = [kind for kind, _ in self.marks()]
        return {kind: kinds.count(kind) for kind in Kind}

    def learn(self, keys: Mapping[bytes, frozenset[bytes]]) -> Traces:
        """Return the traces with the row keys that a scan saw beside their ids."""
        items = tuple(
            replace(item, keys=tuple(sorted({*item.keys, *keys.get(item.id, ())})))
            for item in self.items
        )
        return replace(self, items=items)

    def to_plain(self) -> dict[str, Any]:
        """Return the traces as plain JSON, salt included."""
        return {
            "salt": self.salt.hex(),
            "dim": self.dim,
            "records": [
                {
                    "id": item.id.hex(),
                    "text": _hex(item.text),
                    "subject": _hex(item.subject),
                    "vector": _hex(item.vector),
                    "keys": [key.hex() for key in item.keys],
                }
                for item in self.items
            ],
        }

    @classmethod
    def from_plain(cls, value: Any) -> Traces:
        """Read what ``to_plain`` wrote.

        Raises:
            StoreCorrupt: it is something else.
        """
        try:
            items = tuple(
                Trace(
                    _digest(row["id"]),
                    None if row["text"] is None else _digest(row["text"]),
                    None if row["subject"] is None else _digest(row["subject"]),
                    None if row["vector"] is None else _digest(row["vector"]),
                    tuple(_digest(key) for key in row["keys"]),
                )
                for row in value["records"]
            )
            return cls(_digest(value["salt"]), items, int(value["dim"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StoreCorrupt(
                "the traces of a forget can't be read; forget the records again"
            ) from error


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != SALT_BYTES:
        raise ValueError("not 32 bytes")
    return digest


def trace(
    records: Sequence[Remembered], content: Floats | None = None, *, salt: bytes
) -> Traces:
    """Hash what is known of some records.

    Args:
        records: n records; their empty texts have no trace.
        content: (n, d) content vectors, as stored.
        salt: 32 random bytes.

    Raises:
        InvalidRecord: the salt or the number of vectors is wrong.
    """
    hasher = Hasher(salt)
    rows = matrix(records, content)
    items = tuple(
        Trace(
            hasher.name(record.id),
            hasher.name(record.text) if record.text else None,
            hasher.name(record.subject) if record.subject else None,
            None if rows is None else hasher.of(rows[i].tobytes()),
        )
        for i, record in enumerate(records)
    )
    return Traces(salt, items, 0 if rows is None else rows.shape[1])


def matrix(records: Sequence[Remembered], content: Floats | None) -> Floats | None:
    """Return content vectors as contiguous little-endian float32, one for each record."""
    if content is None:
        return None
    rows = np.ascontiguousarray(content, "<f4")
    if rows.ndim != 2 or len(rows) != len(records):
        raise InvalidRecord("as many vectors as records are needed")
    return rows
