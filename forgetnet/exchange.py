"""Export and import without loss: records as JSON Lines, vectors beside them.

The first line is a header (``{"forgetnet": 1, "encoder": ..., "dim": ..., "records": ...}``), each
other line one record: its fields as canonical JSON, times as ISO 8601 in UTC, the content vector
as base64 of its little-endian float32. Topic codes aren't written: they are computed again from
the path. Records stand in the order of the hash of their ids, so that equal memories give equal
files, whatever their history. What is forgotten later stays in a file written before.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from forgetnet.encode import Encoder
from forgetnet.errors import InvalidRecord
from forgetnet.files import shred, sync_dir
from forgetnet.record import Record, canonical_json, check_record, id_hash, utc
from forgetnet.store import Store

__all__ = [
    "VERSION",
    "Header",
    "decode_line",
    "encode_line",
    "read_export",
    "read_memory",
    "write_export",
    "write_memory",
]

VERSION = 1
_GZIP = b"\x1f\x8b"
_FIELDS = frozenset(
    (
        *("id", "text", "subject", "topic", "mentions", "derived_from", "metadata"),
        *("created_at", "expires_at", "content"),
    )
)
_ROWS = 512  # records read from a store, or given to a memory, at once
_CHARS = 1 << 24  # of text, at once

Vector = npt.NDArray[np.float32]
Line = tuple[Record, Vector | None]


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of an export.

    Attributes:
        encoder: digest of the encoder that made the vectors; None where that isn't known.
        dim: length of a content vector; None where there are none.
        records: how many lines follow; with it, a file cut short is refused.
    """

    encoder: str | None = None
    dim: int | None = None
    records: int | None = None


# ------------------------------------------------------------------------------------- one line


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


# ------------------------------------------------------------------------------------ one file


def write_export(path: str | Path, header: Header, rows: Iterable[Line]) -> int:
    """Write records to a file, for its owner only, gzipped if its name ends in ``.gz``.

    The file appears in one step when all of it is durable; on any error there is none, an older
    one stays as it was, and what was written of the new one is overwritten.

    Returns:
        How many records were written.

    Raises:
        InvalidRecord: a record or vector can't be written, or there are not as many as the header
            says.
        OSError: the folder is missing or read-only, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    done = False
    try:
        with os.fdopen(fd, "wb") as raw:
            if path.name.endswith(".gz"):
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                    count = _write(packed, header, rows)
            else:
                count = _write(raw, header, rows)
            raw.flush()
            os.fsync(raw.fileno())
        temporary.replace(path)
        done = True
    finally:
        if not done:
            with suppress(OSError):
                shred(temporary)
    sync_dir(path.parent)
    return count


def _write(
    file: gzip.GzipFile | io.BufferedWriter,
    header: Header,
    rows: Iterable[Line],
) -> int:
    first = {"forgetnet": VERSION, "encoder": header.encoder, "dim": header.dim}
    if header.records is not None:
        first["records"] = header.records
    file.write(canonical_json(first).encode() + b"\n")
    count = 0
    for record, content in rows:
        vector = record.vector if content is None else content
        if vector is not None and header.dim is not None and vector.shape != (header.dim,):
            shape = f"{vector.shape}, the header says ({header.dim},)"
            raise InvalidRecord(f"record {record.id[:80]!r}: its vector has shape {shape}")
        file.write(encode_line(record, content).encode() + b"\n")
        count += 1
    if header.records is not None and count != header.records:
        raise InvalidRecord(f"{count} records to export, but the header says {header.records}")
    return count


def read_export(path: str | Path) -> tuple[Header, Iterator[Line]]:
    """Read an export: its header at once, its records one by one, gzip or not.

    Raises:
        InvalidRecord: there is no file, or it isn't an export; while iterating: a line is broken,
            or the file was cut short. The message names the line and quotes nothing.
    """
    path = Path(path)
    lines = _lines(path)
    header = _header(path, next(lines, (1, "")))
    return header, _records(path, header, lines)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number the lines of a file from 1 and decode them."""
    number = 0
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == _GZIP
            file: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if packed else raw
            for data in file:
                number += 1
                yield number, data.decode()
    except UnicodeDecodeError:
        raise InvalidRecord(f"{path}, line {number}: not UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InvalidRecord(
            f"{path}, after line {number}: the compressed data is damaged or ends early"
        ) from None
    except OSError as error:
        raise InvalidRecord(f"can't read {path}: {error.strerror}") from None


def _header(path: Path, line: tuple[int, str]) -> Header:
    try:
        fields = json.loads(line[1])
    except (ValueError, RecursionError):
        fields = None
    version = fields.get("forgetnet") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not isinstance(version, int):
        raise InvalidRecord(
            f"{path} isn't an export of ForgetNet; `forgetnet import` reads other files"
        )
    if version > VERSION:
        raise InvalidRecord(f"{path} was written by a newer version; update ForgetNet to read it")
    encoder, dim, records = (fields.get(name) for name in ("encoder", "dim", "records"))
    if (
        not isinstance(encoder, str | None)
        or not isinstance(dim, int | None)
        or not isinstance(records, int | None)
    ):
        raise InvalidRecord(f"{path}, line 1: the header is broken")
    return Header(encoder, dim, records)


def _records(path: Path, header: Header, lines: Iterator[tuple[int, str]]) -> Iterator[Line]:
    count = 0
    for number, line in lines:
        if not line.strip():
            continue
        try:
            record, content = decode_line(line)
        except InvalidRecord as error:
            raise InvalidRecord(f"{path}, line {number}: {error}") from None
        if content is not None and header.dim is not None and len(content) != header.dim:
            raise InvalidRecord(
                f"{path}, line {number}: a vector of {len(content)} values, "
                f"the header says {header.dim}"
            )
        count += 1
        yield record, content
    if header.records is not None and count != header.records:
        raise InvalidRecord(
            f"{path} holds {count} records and its header says {header.records}: it was cut short"
        )


# ---------------------------------------------------------------------------------- one memory


def write_memory(
    store: Store, path: Path, encoder: Encoder, *, embeddings: bool, at: datetime
) -> int:
    """Export all records of a store but those expired by ``at``; return how many.

    Args:
        store: where they are.
        path: the file; see :func:`write_export`.
        encoder: the one that made the vectors.
        embeddings: write the vectors; those of records without text are written anyway.
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

    return write_export(path, Header(encoder.digest, encoder.dim, len(ids)), rows())


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
