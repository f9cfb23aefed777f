"""One line of an export: a record as canonical JSON, and back. Knows nothing of files."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.record import Record, canonical_json, check_record, utc

__all__ = ["Line", "Vector", "decode_line", "encode_line"]

_FIELDS = frozenset(
    (
        *("id", "text", "subject", "topic", "mentions", "derived_from", "metadata"),
        *("created_at", "expires_at", "content"),
    )
)

Vector: TypeAlias = npt.NDArray[np.float32]
Line: TypeAlias = tuple[Record, Vector | None]
"""A record without its vector, and the (d,) vector, if any."""


def encode_line(record: Record, content: Vector | None = None) -> str:
    r"""Write one record as canonical JSON, without the ``\n`` that ends its line.

    Args:
        record: a record with an id; times are written in UTC.
        content: (d,) its content vector, float32; None to take ``record.vector``, if any.

    Raises:
        InvalidRecord: the record can't be stored, or the vector is not finite float32.
    """
    vector = record.vector if content is None else content
    if faults := check_record(replace(record, vector=vector)):
        raise InvalidRecord(f"record {record.id[:80]!r}: {'; '.join(faults)}")
    if vector is not None and not _is_vector(vector):
        raise InvalidRecord(f"record {record.id[:80]!r}: its vector isn't finite float32 (d,)")
    try:
        times = [None if m is None else utc(m) for m in (record.created_at, record.expires_at)]
    except OverflowError:
        raise InvalidRecord(f"record {record.id[:80]!r}: a time is out of range in UTC") from None
    created, expires = (None if moment is None else moment.isoformat() for moment in times)
    fields = {
        "id": record.id,
        "text": record.text,
        "subject": record.subject,
        "topic": record.topic,
        "mentions": list(record.mentions),
        "derived_from": list(record.derived_from),
        "metadata": dict(record.metadata),
        "created_at": created,
        "expires_at": expires,
        "content": None if vector is None else base64.b64encode(_little(vector)).decode(),
    }
    said = {name: value for name, value in fields.items() if value not in (None, [])}
    return canonical_json(said)


def _is_vector(value: object) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.dtype == np.float32
        and value.ndim == 1
        and value.size > 0
        and bool(np.isfinite(value).all())
    )


def _little(vector: Vector) -> bytes:
    return vector.astype("<f4", copy=False).tobytes()


def decode_line(line: str) -> Line:
    """Read one line: the record, without its vector, and the (d,) content vector, if any.

    Raises:
        InvalidRecord: the line isn't one that :func:`encode_line` writes; the message doesn't
            quote it.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidRecord("not valid JSON") from None
    if not isinstance(fields, dict):
        raise InvalidRecord("not a JSON object")
    if unknown := fields.keys() - _FIELDS:
        raise InvalidRecord(f"{len(unknown)} unknown fields; a newer version may have written it")
    content = _vector(fields.get("content"))
    record = Record(
        text=fields.get("text"),
        id=_id(fields.get("id")),
        subject=fields.get("subject"),
        topic=fields.get("topic"),
        mentions=_names(fields, "mentions"),
        derived_from=_names(fields, "derived_from"),
        metadata=fields.get("metadata", {}),
        created_at=_moment(fields, "created_at"),
        expires_at=_moment(fields, "expires_at"),
    )
    try:
        faults = check_record(replace(record, vector=content))
    except RecursionError:
        raise InvalidRecord("nested too deeply") from None
    if faults:
        raise InvalidRecord("; ".join(faults))
    return record, content


def _id(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRecord("a record without id")
    return value


def _names(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    values = fields.get(name, [])
    if not isinstance(values, list):
        raise InvalidRecord(f"{name} must be a list")
    return tuple(values)


def _moment(fields: dict[str, Any], name: str) -> datetime | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise InvalidRecord(f"{name} isn't a time in ISO 8601") from None


def _vector(value: Any) -> Vector | None:
    if value is None:
        return None
    try:
        data = base64.b64decode(value, validate=True)
        vector = np.frombuffer(data, dtype="<f4").astype(np.float32)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidRecord("content isn't base64 of float32 values") from None
    if not _is_vector(vector):
        raise InvalidRecord("content holds no values, or some that aren't finite")
    return vector
