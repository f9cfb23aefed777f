"""Rows as Arrow columns, and back: what pieces and tails have in common.

Knows nothing of files. ``key`` is the engine's own name for a row: random, never reused, so that
a caller's id may come back as a new record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgetnet.record import Record, canonical_json
from forgetnet.store import PLACE_DIM, Floats

__all__ = ["DEAD", "Rows", "dead_batch", "from_arrow", "schema", "to_arrow"]

Keys = npt.NDArray[np.uint64]
DEAD = pa.schema([pa.field("dead", pa.uint64(), nullable=False)])
_MOMENT = pa.timestamp("us", tz="UTC")
_NONE: MappingProxyType[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rows:
    """n rows: keys (n,), records, content (n, d) and place (n, 17)."""

    keys: Keys
    records: Sequence[Record]
    content: Floats
    place: Floats

    def __len__(self) -> int:
        return len(self.records)

    def take(self, chosen: Sequence[int]) -> Rows:
        """Return the rows at the given positions."""
        picked = np.asarray(chosen, np.int64)
        return Rows(
            self.keys[picked],
            [self.records[i] for i in chosen],
            self.content[picked],
            self.place[picked],
        )


def schema(dim: int) -> pa.Schema:
    """Return the columns of a row with content vectors of length ``dim``."""
    names = pa.list_(pa.field("item", pa.string()))
    return pa.schema(
        [
            pa.field("key", pa.uint64(), nullable=False),
            pa.field("id", pa.string(), nullable=False),
            pa.field("text", pa.string()),
            pa.field("subject", pa.string()),
            pa.field("topic", pa.string()),
            pa.field("mentions", names),
            pa.field("derived_from", names),
            pa.field("metadata", pa.string(), nullable=False),
            pa.field("created_at", _MOMENT),
            pa.field("expires_at", _MOMENT),
            pa.field("content", pa.list_(pa.float32(), dim), nullable=False),
            pa.field("place", pa.list_(pa.float32(), PLACE_DIM), nullable=False),
        ]
    )


def _micros(moments: Sequence[datetime | None]) -> pa.Array:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return pa.array(
        [
            None
            if m is None
            else (d := m - epoch).days * 86_400_000_000 + d.seconds * 1_000_000 + d.microseconds
            for m in moments
        ],
        pa.int64(),
    ).cast(_MOMENT)


def _fixed(values: Floats) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def to_arrow(rows: Rows) -> pa.Table:
    """Turn rows into a table with the columns of :func:`schema`."""
    records = rows.records
    names = pa.list_(pa.field("item", pa.string()))
    columns = [
        pa.array(rows.keys, pa.uint64()),
        pa.array([r.id for r in records], pa.string()),
        pa.array([r.text for r in records], pa.string()),
        pa.array([r.subject for r in records], pa.string()),
        pa.array([r.topic for r in records], pa.string()),
        pa.array([r.mentions for r in records], names),
        pa.array([r.derived_from for r in records], names),
        pa.array(
            ["{}" if not r.metadata else canonical_json(dict(r.metadata)) for r in records],
            pa.string(),
        ),
        _micros([r.created_at for r in records]),
        _micros([r.expires_at for r in records]),
        _fixed(rows.content),
        _fixed(rows.place),
    ]
    return pa.Table.from_arrays(columns, schema=schema(rows.content.shape[1]))


def _matrix(column: pa.ChunkedArray, width: int) -> Floats:
    parts = [np.asarray(chunk.flatten(), np.float32).reshape(-1, width) for chunk in column.chunks]
    whole: Floats = np.concatenate(parts) if parts else np.zeros((0, width), np.float32)
    return whole


def from_arrow(table: pa.Table, dim: int) -> Rows:
    """Turn a table with the columns of :func:`schema` back into rows."""
    plain = {
        name: table.column(name).to_pylist()
        for name in ("id", "text", "subject", "topic", "mentions", "derived_from", "metadata")
    }
    moments = {
        name: [None if m is None else m for m in table.column(name).to_pylist()]
        for name in ("created_at", "expires_at")
    }
    records = [
        Record(
            text=text,
            id=record_id,
            subject=subject,
            topic=topic,
            mentions=tuple(mentions or ()),
            derived_from=tuple(derived or ()),
            metadata=_NONE if metadata == "{}" else MappingProxyType(json.loads(metadata)),
            created_at=created,
            expires_at=expires,
        )
        for record_id, text, subject, topic, mentions, derived, metadata, created, expires in zip(
            *plain.values(), *moments.values(), strict=True
        )
    ]
    return Rows(
        np.asarray(table.column("key").to_numpy(), np.uint64),
        records,
        _matrix(table.column("content"), dim),
        _matrix(table.column("place"), PLACE_DIM),
    )


def dead_batch(keys: Sequence[int]) -> pa.Table:
    """Turn row keys into the table that a tail keeps of deleted rows."""
    return pa.Table.from_arrays([pa.array(keys, pa.uint64())], schema=DEAD)
