"""A whole memory, out and in: which records an export holds, and what an import may store.

An import reads its file twice: once to see that all of it can be stored, then to store it.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from forgetnet.encode import Encoder, VectorsOnly, check_vectors
from forgetnet.errors import InvalidRecord, StoreError
from forgetnet.exchange.file import Header, read_export, write_export
from forgetnet.exchange.lines import Line
from forgetnet.record import Record, canonical_bytes, id_hash, normalise
from forgetnet.store import Store

__all__ = ["check_memory", "not_stored", "read_memory", "write_memory"]

_ROWS = 512  # records read from a store, or given to a memory, at once
_CHARS = 1 << 24  # of text, at once


def write_memory(
    store: Store, path: Path, encoder: Encoder, *, embeddings: bool, at: datetime
) -> int:
    """Export all records of a store but those expired by ``at``; return how many.

    Args:
        store: where they are.
        path: the file; see :func:`write_export`.
        encoder: the one that made the vectors.
        embeddings: write the vectors; those of records without text are written anyway.

    Raises:
        StoreError: the file can't be written; the message says why.
    """
    visible = (r for r in store.scan() if r.expires_at is None or r.expires_at > at)
    ids = sorted((record.id for record in visible), key=id_hash)

    def rows() -> Iterator[Line]:
        for start in range(0, len(ids), _ROWS):
            some = ids[start : start + _ROWS]
            records, content = store.get(some), store.vectors(some)[0]
            for record_id, vector in zip(some, content, strict=True):
                record = records[record_id]
                yield record, vector if embeddings or record.text is None else None

    try:
        return write_export(path, Header(encoder.digest, encoder.dim, len(ids)), rows())
    except OSError as error:
        raise StoreError(
            f"can't write the export {path}: {error.strerror}; name a file in a folder that is "
            "there and can be written"
        ) from error


def read_memory(path: Path, encoder: Encoder) -> Iterator[list[Record]]:
    """Read an export in batches, ready to be added to a memory with ``encoder``.

    Vectors are kept if the same encoder made them, and left out otherwise, to be made anew.

    Raises:
        InvalidRecord: as :func:`read_export`; or a record has no text and its vector is of another
            encoder.
    """
    header, lines = read_export(path)
    same = header.encoder == encoder.digest
    batch: list[Record] = []
    size = 0
    for record, content in lines:
        if record.text is None and not same:
            raise InvalidRecord(
                f"record {record.id[:80]!r} has no text, and its vector is of another encoder"
            )
        batch.append(replace(record, vector=content) if same else record)
        size += len(record.text or "")
        if len(batch) == _ROWS or size >= _CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def check_memory(path: Path, encoder: Encoder, store: Store | None = None) -> None:
    """Read an export to its end, store nothing, and see that every record can be stored.

    Holds a batch of records and 8 bytes for each id.

    Args:
        path: the export.
        encoder: of the memory that is to take it.
        store: where no id may be taken by another record; None if that doesn't matter.

    Raises:
        InvalidRecord: as :func:`read_memory`; or a vector has another length than the encoder's
            or is zero, a text needs an encoder where there is none, an id comes twice, or is
            taken.
    """
    seen = array("Q")
    for records in read_memory(path, encoder):
        seen.extend(map(_short_hash, (record.id for record in records)))
        _check_vectors(path, encoder, records)
        if store is not None:
            not_stored(store, records)
    hashes = np.sort(np.frombuffer(seen, np.uint64))
    alike = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not alike:
        return
    found = (record.id for record, _ in read_export(path)[1])
    counts = Counter(i for i in found if _short_hash(i) in alike)
    if twice := sorted(i for i, n in counts.items() if n > 1):
        raise InvalidRecord(f"{path}: ids that come twice: {_some(twice)}; nothing was stored")


def _short_hash(record_id: str) -> int:
    return int.from_bytes(id_hash(record_id)[:8], "little")


def _check_vectors(path: Path, encoder: Encoder, records: Sequence[Record]) -> None:
    """Refuse what the encoder's memory would refuse, before anything is stored."""
    for record in records:
        fault = ""
        if record.vector is None:
            if isinstance(encoder, VectorsOnly):
                fault = "has no vector of this memory, which has no encoder to make one"
        elif record.vector.shape != (encoder.dim,):
            fault = f"has a vector of {record.vector.size} numbers, not {encoder.dim}"
        elif not record.vector.any():
            fault = "has a vector of zeros, which has no direction"
        if fault:
            raise InvalidRecord(f"{path}: record {record.id[:80]!r} {fault}; nothing was stored")


def not_stored(store: Store, records: Sequence[Record]) -> list[Record]:
    """Leave out the records that a store holds already, field for field and bit for bit.

    So an import that was cut short goes on where it stopped.

    Raises:
        InvalidRecord: an id is taken by another record.
    """
    held = store.get([record.id for record in records])
    content = dict(zip(held, store.vectors(list(held))[0], strict=True))
    taken = []
    for record in records:
        if (known := held.get(record.id)) is None:
            continue
        vector = content[record.id]
        given = normalise(record, known.created_at or datetime.now(UTC))
        bits = vector if record.vector is None else check_vectors([record.vector], len(vector))[0]
        if canonical_bytes(given, bits.tobytes(), b"") != canonical_bytes(
            known, vector.tobytes(), b""
        ):
            taken.append(record.id)
    if taken:
        raise InvalidRecord(
            f"ids that other records have already: {_some(sorted(taken))}; forget or delete those "
            "first, or import into a new memory; nothing was stored"
        )
    return [record for record in records if record.id not in held]


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(repr(i[:80]) for i in ids[:5])
    return shown if len(ids) <= 5 else f"{shown} and {len(ids) - 5} more"
