"""Rows as Arrow columns, and back: what pieces and tails have in common.

Knows nothing of files. ``key`` is the engine's own name for a row: random, never reused, so that
a caller's id may come back as a new record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgetnet.record import Record, canonical_json
from forgetnet.store import PLACE_DIM, Floats

__all__ = ["DEAD", "Rows", "dead_batch", "from_arrow", "gather", "schema", "to_arrow"]

Keys = npt.NDArray[np.uint64]
DEAD = pa.schema([pa.field("dead", pa.uint64(), nullable=False)])
_MOMENT = pa.timestamp("us", tz="UTC")
_NAMES = pa.list_(pa.field("item", pa.string()))
_UNCOMPRESSED = {"lance-encoding:compression": "none"}
# Side by side and nothing between, so that vectors can be read from where they lie.
_PLAIN = {**_UNCOMPRESSED, "lance-encoding:structural-encoding": "fullzip"}
_LARGE = ("text", "metadata")
_ARRAY_BYTES = 1 << 30  # of one array of strings, whose offsets end at 2 GiB
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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


@cache
def schema(dim: int) -> pa.Schema:
    """Return the columns of a row with content vectors of length ``dim``.

    They are stored as they are: faster to write, and a look at the bytes sees what is there.
    """
    plain = pa.schema(
        [
            pa.field("key", pa.uint64(), nullable=False),
            pa.field("id", pa.string(), nullable=False),
            pa.field("text", pa.string()),
            pa.field("subject", pa.string()),
            pa.field("topic", pa.string()),
            pa.field("mentions", _NAMES),
            pa.field("derived_from", _NAMES),
            pa.field("metadata", pa.string(), nullable=False),
            pa.field("created_at", _MOMENT),
            pa.field("expires_at", _MOMENT),
            pa.field("content", pa.list_(pa.float32(), dim), nullable=False),
            pa.field("place", pa.list_(pa.float32(), PLACE_DIM), nullable=False),
        ]
    )
    told = ((field, _PLAIN if field.name == "content" else _UNCOMPRESSED) for field in plain)
    return pa.schema([field.with_metadata(how) for field, how in told])


def _fixed(values: Floats) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _strings(values: Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


def _lists(values: list[tuple[str, ...]]) -> pa.Array:
    if values.count(()) == len(values):
        return pa.array(values, _NAMES)
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    words = _strings([word for value in values for word in value])
    return pa.ListArray.from_arrays(offsets, words).cast(_NAMES)


def to_arrow(rows: Rows) -> pa.Table:
    """Turn rows into a table with the columns of :func:`schema`."""
    records = rows.records
    columns = [
        pa.array(rows.keys, pa.uint64()),
        _strings([r.id for r in records]),
        _strings([r.text for r in records]),
        _strings([r.subject for r in records]),
        _strings([r.topic for r in records]),
        _lists([r.mentions for r in records]),
        _lists([r.derived_from for r in records]),
        _strings(["{}" if not r.metadata else canonical_json(dict(r.metadata)) for r in records]),
        pa.array([r.created_at for r in records], _MOMENT),
        pa.array([r.expires_at for r in records], _MOMENT),
        _fixed(rows.content),
        _fixed(rows.place),
    ]
    return pa.Table.from_arrays(columns, schema=schema(rows.content.shape[1]))


def _matrix(column: pa.ChunkedArray, width: int) -> Floats:
    parts = [np.asarray(chunk.flatten(), np.float32).reshape(-1, width) for chunk in column.chunks]
    if len(parts) == 1:
        return parts[0]
    whole: Floats = np.concatenate(parts) if parts else np.zeros((0, width), np.float32)
    return whole


def _datetimes(column: pa.ChunkedArray) -> list[datetime | None]:
    found: list[int | None] = column.cast(pa.int64()).to_pylist()
    known: dict[int | None, datetime | None] = {None: None}
    for micros in set(found) - {None}:
        if micros is not None:
            known[micros] = _EPOCH + timedelta(microseconds=micros)
    return [known[micros] for micros in found]


def _tuples(column: pa.ChunkedArray) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for chunk in column.chunks:
        words = chunk.flatten().to_pylist()
        if not words:
            found += [()] * len(chunk)
            continue
        ends = np.cumsum(chunk.value_lengths().fill_null(0).to_numpy()).tolist()
        found += [tuple(words[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    return found


def _shared(values: list[str | None]) -> list[str | None]:
    """Keep each distinct string once."""
    known: dict[str | None, str | None] = {}
    return [known.setdefault(value, value) for value in values]


def _metadata(text: str) -> Mapping[str, Any]:
    return _NONE if text == "{}" else MappingProxyType(json.loads(text))


def from_arrow(table: pa.Table, dim: int) -> Rows:
    """Turn a table with the columns of :func:`schema` back into rows."""
    columns: list[Iterable[Any]] = [table.column(name).to_pylist() for name in ("text", "id")]
    columns += [_shared(table.column(name).to_pylist()) for name in ("subject", "topic")]
    columns += [_tuples(table.column(name)) for name in ("mentions", "derived_from")]
    columns.append(map(_metadata, table.column("metadata").to_pylist()))
    columns += [_datetimes(table.column(name)) for name in ("created_at", "expires_at")]
    return Rows(
        np.asarray(table.column("key").to_numpy(), np.uint64),
        list(map(Record, *columns)),
        _matrix(table.column("content"), dim),
        _matrix(table.column("place"), PLACE_DIM),
    )


def gather(table: pa.Table, order: npt.NDArray[np.int64]) -> pa.Table:
    """Return rows of a table in some order, in several batches where one array can't hold them."""
    if sum(table.column(name).nbytes for name in _LARGE) <= _ARRAY_BYTES:
        return table.take(order)
    wide = table
    for name in _LARGE:
        place = wide.schema.get_field_index(name)
        wide = wide.set_column(place, name, wide.column(name).cast(pa.large_string()))
    lengths = sum(pc.fill_null(pc.binary_length(wide.column(n)), 0).to_numpy() for n in _LARGE)
    filled = np.cumsum(lengths[order]) // _ARRAY_BYTES
    cuts = np.flatnonzero(np.diff(filled)) + 1
    parts = (wide.take(run).cast(table.schema) for run in np.split(order, cuts) if len(run))
    return pa.concat_tables(parts)


def dead_batch(keys: Sequence[int]) -> pa.Table:
    """Turn row keys into the table that a tail keeps of deleted rows."""
    return pa.Table.from_arrays([pa.array(keys, pa.uint64())], schema=DEAD)
