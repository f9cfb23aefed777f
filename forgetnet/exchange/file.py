"""One export: a header and its lines in a file, gzipped or not. Knows nothing of memories."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from forgetnet.errors import InvalidRecord
from forgetnet.exchange.lines import Line, decode_line, encode_line
from forgetnet.files import shred, sync_dir
from forgetnet.record import canonical_json

__all__ = ["VERSION", "Header", "read_export", "write_export"]

VERSION = 1
_GZIP = b"\x1f\x8b"


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
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
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
