"""Records and hits: the plain values that go into a memory and come out of it.

Knows nothing of stores, encoders or geometry. ``repr`` never shows text: what is forgotten must
not live on in a log.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord

__all__ = [
    "MAX_TOPIC_DEPTH",
    "Deleted",
    "Hit",
    "Record",
    "Stats",
    "canonical_bytes",
    "canonical_json",
    "check_record",
    "id_hash",
    "new_id",
    "normalise",
    "split_topic",
    "utc",
]

MAX_TOPIC_DEPTH = 6
_NO_METADATA: Mapping[str, Any] = MappingProxyType({})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


@dataclass(frozen=True, slots=True)
class Record:
    """One thing to remember, and whose it is.

    Attributes:
        text: what is remembered; None when only a vector is given.
        id: the caller's name for it; empty for a random one.
        subject: the person (or client, source, licence holder) whose data it is.
        topic: a path such as ``health/allergies``, at most 6 levels.
        mentions: other subjects that the record is about.
        derived_from: ids of the records that this one was made from.
        metadata: JSON values by name.
        created_at: aware time; None for now.
        expires_at: aware time from which the record is invisible and due for ``sweep``.
        vector: (d,) content embedding, when the caller brings one.
    """

    text: str | None = field(default=None, repr=False)
    id: str = ""
    subject: str | None = field(default=None, repr=False)
    topic: str | None = field(default=None, repr=False)
    mentions: tuple[str, ...] = field(default=(), repr=False)
    derived_from: tuple[str, ...] = field(default=(), repr=False)
    metadata: Mapping[str, Any] = field(default_factory=lambda: _NO_METADATA, repr=False)
    created_at: datetime | None = None
    expires_at: datetime | None = None
    vector: npt.NDArray[np.float32] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search: the record's fields, and how well it answers.

    ``distance`` is 1 - cosine in float64, the less the better; with ``near=`` it is the product
    metric of :class:`forgetnet.store.Near`; None in a search by words alone. ``score`` is what
    other searches rank by, the more the better: BM25 in a search by words, the fused ranks in a
    hybrid one; None in a search by meaning.
    """

    id: str
    distance: float | None
    text: str | None = field(repr=False)
    subject: str | None = field(repr=False)
    topic: str | None = field(repr=False)
    metadata: Mapping[str, Any] = field(repr=False)
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a ``delete`` did: ids that are unreachable now, and ids that weren't stored."""

    deleted: tuple[str, ...]
    not_found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of a memory.

    Attributes:
        records: live ones, without the expired.
        subjects, topics: distinct ones among them.
        expired: records that await ``sweep``.
        bytes, files: of the store on disk.
        receipts: entries of the ledger.
        encoder, dim: its name, and the length of its vectors.
    """

    records: int
    subjects: int
    topics: int
    expired: int
    bytes: int
    files: int
    receipts: int
    encoder: str
    dim: int


def new_id() -> str:
    """Draw a random id: 128 bits, in hexadecimal."""
    return os.urandom(16).hex()


def id_hash(record_id: str) -> bytes:
    """SHA-256 of an id: the canonical order of records."""
    return hashlib.sha256(record_id.encode()).digest()


def utc(moment: datetime) -> datetime:
    """Return ``moment`` in UTC, to the microsecond."""
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def split_topic(topic: str | None) -> tuple[str, ...]:
    """Split a topic path into its names; none for no topic.

    Raises:
        InvalidRecord: a name is empty, or the path has more than 6 levels.
    """
    if topic is None:
        return ()
    names = tuple(topic.split("/"))
    if not all(names):
        raise InvalidRecord(
            "a topic has an empty name; write names joined by single slashes, as 'health/allergies'"
        )
    if len(names) > MAX_TOPIC_DEPTH:
        raise InvalidRecord(
            f"a topic has {len(names)} levels and at most {MAX_TOPIC_DEPTH} are kept apart; "
            "join the deepest names into one"
        )
    return names


def canonical_json(value: object) -> str:
    """Serialise a JSON value in one way only: sorted keys, no spaces, finite numbers."""
    return _CANONICAL.encode(value)


def _text_fault(name: str, value: object) -> str | None:
    if not isinstance(value, str):
        return f"{name} must be a string, not {type(value).__name__}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{name} holds half of a surrogate pair, which UTF-8 can't write; repair the text"
    return None


def _names_faults(name: str, values: object) -> list[str]:
    if not isinstance(values, tuple):
        return [f"{name} must be a tuple of strings"]
    faults = [fault for value in values if (fault := _text_fault(name, value))]
    if not all(values):
        faults.append(f"{name} holds an empty string; leave it out")
    return faults


def _texts_faults(texts: tuple[object, ...]) -> list[str]:
    pairs = zip(("text", "id", "subject", "topic"), texts, strict=True)
    found = (_text_fault(name, value) for name, value in pairs if value is not None)
    return [fault for fault in found if fault]


def _moment_faults(name: str, value: object) -> list[str]:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        return [f"{name} must be a datetime with a time zone; add tzinfo=datetime.UTC"]
    try:
        utc(value)
    except OverflowError:
        return [f"{name} is no time of the years 1 to 9999 in UTC"]
    return []


def _plain_metadata(metadata: object) -> tuple[dict[str, Any], str | None]:
    """Return metadata as JSON gives them back, and what is wrong with them."""
    if not isinstance(metadata, Mapping):
        return {}, f"metadata must be a mapping, not {type(metadata).__name__}"
    given = dict(metadata)
    try:
        plain: dict[str, Any] = json.loads(canonical_json(given).encode())
    except (TypeError, ValueError, RecursionError):
        return (
            {},
            "metadata must hold JSON values only (finite numbers, whole Unicode, string keys)",
        )
    if plain != given:
        fault = (
            "metadata must come back from JSON unchanged; use lists, not tuples, and string keys"
        )
        return {}, fault
    return plain, None


def check_record(record: Record) -> list[str]:
    """Say what is wrong with a record, as a list of reasons; empty when it can be stored."""
    return _check(record, record.id)[0]


def _check(record: Record, record_id: str) -> tuple[list[str], dict[str, Any]]:
    """Say what is wrong with a record under an id, and return its metadata in plain values."""
    faults: list[str] = []
    if record.text is None and record.vector is None:
        faults.append("a record needs a text or a vector")
    texts = (record.text, record_id, record.subject, record.topic)
    for value in texts:
        if value is not None and (type(value) is not str or not value.isascii()):
            faults += _texts_faults(texts)
            break
    if not record_id:
        faults.append("id is empty")
    if isinstance(record.subject, str) and not record.subject:
        faults.append("subject is empty; use None for a record that is nobody's")
    if type(record.mentions) is not tuple or record.mentions:
        faults += _names_faults("mentions", record.mentions)
    if type(record.derived_from) is not tuple or record.derived_from:
        faults += _names_faults("derived_from", record.derived_from)
    if record.created_at is not None:
        faults += _moment_faults("created_at", record.created_at)
    if record.expires_at is not None:
        faults += _moment_faults("expires_at", record.expires_at)
    metadata: dict[str, Any] = {}
    if record.metadata is not _NO_METADATA:
        metadata, fault = _plain_metadata(record.metadata)
        if fault:
            faults.append(fault)
    if isinstance(record.topic, str):
        try:
            split_topic(record.topic)
        except InvalidRecord as error:
            faults.append(str(error))
    return faults, metadata


def normalise(record: Record, now: datetime) -> Record:
    """Fill in id and time, put times in UTC, order the names, drop the vector.

    Metadata are copied, so that nothing the caller does to them later changes the record.

    Raises:
        InvalidRecord: the record can't be stored; the message lists every reason.
    """
    faults, metadata = _check(record, record.id or "new")
    if faults:
        name = f"record {str(record.id)[:80]!r}" if record.id else "a record without id"
        raise InvalidRecord(f"{name}: {'; '.join(faults)}")
    mentions, derived = record.mentions, record.derived_from
    # In the order of the fields: keywords cost as much as all the checks.
    return Record(
        record.text,
        record.id or new_id(),
        record.subject,
        record.topic,
        tuple(sorted(set(mentions))) if mentions else (),
        tuple(sorted(set(derived))) if derived else (),
        MappingProxyType(metadata) if metadata else _NO_METADATA,
        utc(record.created_at or now),
        None if record.expires_at is None else utc(record.expires_at),
    )


def _micros(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def canonical_bytes(record: Record, content: bytes, place: bytes) -> bytes:
    """Serialise a stored record in one way only; what digests and twins compare.

    Args:
        record: a normalised record.
        content: bytes of its float32 content vector.
        place: bytes of its float32 topic code.
    """
    fields = canonical_json(
        [
            record.id,
            record.text,
            record.subject,
            record.topic,
            list(record.mentions),
            list(record.derived_from),
            dict(record.metadata),
            _micros(record.created_at),
            _micros(record.expires_at),
        ]
    ).encode()
    return b"".join((len(fields).to_bytes(8, "little"), fields, content, place))
