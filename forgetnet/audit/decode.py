"""Reading every file of a memory by its format, whatever any manifest says of it.

Written against ``docs/format.md``; shares no code with what writes these files. A Lance data file
is read by itself, so that rows which a deletion vector or an old version hides are seen, and each
of its bytes must belong to a named buffer or be padding. What can't be decoded raises
``StoreCorrupt``: it may hold anything. Knows nothing of what is looked for.

Lance's own decoder aborts the process on a few kinds of damage inside a page (seen in about one of
5,000 random damages). ``layout.check_layout`` compares digests without decoding: ask it first.
"""

from __future__ import annotations

import re
import socket
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import pyarrow as pa

from forgetnet.audit import documents, tensors
from forgetnet.audit.documents import Loose
from forgetnet.audit.sealed import opened, slots
from forgetnet.errors import StoreCorrupt

if TYPE_CHECKING:
    import lance.file

__all__ = ["Frame", "Guard", "decode", "frames", "lance_batches", "reader_of"]

_HEADER = struct.Struct("<4sQIIQI")
_FOOTER = struct.Struct("<QQQIIHH4s")
_CRC_BYTES = 4  # the last of the header, which the checksum covers but for these
_ENTRY = struct.Struct("<QQ")
_ALIGNED = 64  # buffers begin at multiples of it
_PADDING = (b"\x00", b"\x48")
_BATCH = 2048
_LIMIT = 256 << 20
_DAMAGE = (
    pa.ArrowException, OSError, ValueError, RuntimeError, LookupError, ArithmeticError, MemoryError,
    struct.error,
)  # fmt: skip

Part: TypeAlias = pa.RecordBatch | Loose


class Guard:
    """Turns what decoders raise on damaged bytes, panics too, into ``StoreCorrupt``.

    The message names no cause, since a decoder's own words may quote what it read.
    """

    def __enter__(self) -> None:
        """Begin to watch."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Translate the error, if it is a decoder's."""
        if kind is None or issubclass(kind, StoreCorrupt):
            return
        # A panic in Rust comes as a class of its own, which no module exports.
        if issubclass(kind, _DAMAGE) or kind.__name__ == "PanicException":
            raise StoreCorrupt("a file can't be decoded; it may hold anything") from None


# -- Lance data files


def reader_of(path: Path) -> lance.file.LanceFileReader:
    """Open a Lance data file whose end is sound: Lance trusts it, and may abort if it isn't.

    Raises:
        StoreCorrupt: it can't be opened.
    """
    import lance.file  # slow to load, and most uses of the library decode nothing

    with Guard():
        _end(path)
        reader = lance.file.LanceFileReader(str(path))
        if reader.num_rows() > path.stat().st_size:
            raise StoreCorrupt("a data file says it has more rows than bytes")
        return reader


def _end(path: Path) -> tuple[int, tuple[int, int]]:
    """Return the number of a Lance data file's columns, and where its end lies.

    Column metadata, the table of these, the table of global buffers and the footer: each must
    begin where the one before ends.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - _FOOTER.size, 0))
        footer = _FOOTER.unpack(file.read(_FOOTER.size))
        columns_at, column_table, buffer_table, buffers, columns, _, _, magic = footer
        if magic != b"LANC" or buffers != 1 or size != buffer_table + _ENTRY.size + _FOOTER.size:
            raise StoreCorrupt("a data file's end is damaged, or holds what no row explains")
        if column_table + columns * _ENTRY.size != buffer_table:
            raise StoreCorrupt("a data file has other columns than it says")
        file.seek(column_table)
        table = file.read(columns * _ENTRY.size)
    end = columns_at
    for start, length in sorted(_ENTRY.iter_unpack(table)):
        if start != end:
            raise StoreCorrupt("a data file's metadata lies outside its place")
        end += length
    if end != column_table:
        raise StoreCorrupt("a data file's metadata lies outside its place")
    return columns, (columns_at, size)


def _spans(path: Path, metadata: Any) -> list[tuple[int, int]]:
    """List the (start, end) of all that a Lance data file names."""
    columns, end = _end(path)
    named = list(metadata.global_buffers)
    if len(metadata.columns) != columns or None in metadata.columns:
        raise StoreCorrupt("a data file has columns without metadata")
    for column in metadata.columns:
        named += [*column.column_buffers, *(b for page in column.pages for b in page.buffers)]
    return [end, *((buffer.position, buffer.position + buffer.size) for buffer in named)]


def _check_covered(path: Path, metadata: Any) -> None:
    """Raise ``StoreCorrupt`` if a data file holds bytes that it doesn't name."""
    size = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        for start, end in sorted(_spans(path, metadata)):
            if start > position:
                file.seek(position)
                gap = file.read(min(start - position, _ALIGNED))
                if start - position >= _ALIGNED or gap.strip(gap[:1]) or gap[:1] not in _PADDING:
                    raise StoreCorrupt("a data file holds bytes that none of its columns name")
            position = max(position, end)
        if position != size:
            raise StoreCorrupt("a data file names bytes that it does not have")


def lance_batches(path: Path) -> Iterator[Part]:
    """Iterate over a Lance data file: its schema's words, then all of its rows."""
    with Guard():
        reader = reader_of(path)
        metadata = reader.metadata()
        _check_covered(path, metadata)
        yield _words_of(metadata.schema)
        rows = 0
        # One array of strings ends at 2 GiB, so long texts are read some at a time.
        most = reader.num_rows() * _LIMIT // max(1, path.stat().st_size)
        for batch in reader.read_all(batch_size=max(1, min(_BATCH, most))).to_batches():
            batch.validate(full=True)
            rows += batch.num_rows
            yield batch
        if rows != reader.num_rows():
            raise StoreCorrupt("a data file has other rows than it says")


def _words_of(schema: pa.Schema) -> Loose:
    """Collect the names and the metadata of a schema's columns, nested ones too."""
    loose = Loose()
    fields = list(schema)
    notes = [schema.metadata]
    while fields:
        field_ = fields.pop()
        loose.strings.append(field_.name)
        notes.append(field_.metadata)
        fields += [field_.type.field(i) for i in range(field_.type.num_fields)]
    for note in notes:
        for name, value in (note or {}).items():
            loose.strings += [name.decode(errors="replace"), value.decode(errors="replace")]
            loose.blobs.append(value)
    return loose


# -- tails


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a tail: part ``part`` of ``parts`` of batch ``sequence``."""

    sequence: int
    part: int
    parts: int
    schema: pa.Schema = field(repr=False)
    batches: Sequence[pa.RecordBatch] = field(repr=False)


def frames(path: Path) -> Iterator[Frame]:
    """Iterate over the frames of a tail.

    Zeros behind the last frame are passed over: they hold nothing.

    Raises:
        StoreCorrupt: a frame is damaged, or other bytes follow the last.
    """
    with Guard(), path.open("rb") as file:
        while header := file.read(_HEADER.size):
            if len(header) < _HEADER.size or not any(header):
                _check_zero(header, file)
                return
            magic, sequence, part, parts, length, crc = _HEADER.unpack(header)
            if magic != b"FNTF" or length > _LIMIT:
                raise StoreCorrupt("bytes in a tail are not a frame")
            payload = file.read(length)
            checked = zlib.crc32(payload, zlib.crc32(header[:-_CRC_BYTES]))
            if len(payload) < length or checked != crc:
                raise StoreCorrupt("a frame of a tail is damaged or cut short")
            schema, batches = _stream(payload)
            yield Frame(sequence, part, parts, schema, batches)


def _check_zero(begin: bytes, file: BinaryIO) -> None:
    rest = begin
    while rest:
        if any(rest):
            raise StoreCorrupt("bytes follow the last frame of a tail")
        rest = file.read(1 << 20)


def _stream(payload: bytes) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    source = pa.BufferReader(payload)
    reader = pa.ipc.open_stream(source)
    batches = list(reader)
    if source.tell() != len(payload):
        raise StoreCorrupt("a frame holds bytes behind its rows")
    for batch in batches:
        batch.validate(full=True)
    return reader.schema, batches


def _tail(path: Path) -> Iterator[Part]:
    for frame in frames(path):
        yield _words_of(frame.schema)
        yield from frame.batches


def _deletions(path: Path) -> Iterator[Part]:
    """Read the row offsets of a Lance deletion vector."""
    with Guard(), pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_file(source)
        yield _words_of(reader.schema)
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            batch.validate(full=True)
            yield batch


# -- everything else


def _whole(path: Path, read: Callable[[bytes], Loose]) -> Iterator[Part]:
    if path.stat().st_size > _LIMIT:
        raise StoreCorrupt("a file is larger than this verifier reads at once")
    with Guard():
        yield read(path.read_bytes())


def _lock(data: bytes) -> Loose:
    text = data.decode()
    if not text.isprintable() or len(text) > 300:
        raise StoreCorrupt("the lock holds something else than its holder's name")
    mine = re.fullmatch(rf"process \d+ on {re.escape(socket.gethostname())}", text)
    return Loose([text], own=frozenset({text} if mine else ()))


def _pulse(data: bytes) -> Loose:
    if len(data) != 8:
        raise StoreCorrupt("the pulse is not a counter")
    return Loose()


def _keys(data: bytes) -> Loose:
    """Check the slots; what is in them is random, and says nothing."""
    for _ in slots(data):
        pass
    return Loose()


def _shaped(pattern: str) -> Callable[[bytes], Loose]:
    def read(data: bytes) -> Loose:
        text = data.decode("ascii")
        if not re.fullmatch(pattern, text):
            raise StoreCorrupt("a small file does not have its shape")
        return Loose(text.split("\n"))

    return read


_NAMED: dict[str, Callable[[bytes], Loose]] = {
    "lock": _lock,
    "pulse": _pulse,
    "keys": _keys,
    "key": _shaped(r"([0-9a-f]{2}){32,128}\n?"),
    "receipt.pub": _shaped(
        r"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=]{1,64}\n){1,4}-----END PUBLIC KEY-----\n?"
    ),
}
_PLACED: dict[tuple[str, str], Callable[[bytes], Loose]] = {
    ("_versions", ".manifest"): documents.lance_manifest,
    ("_transactions", ".txn"): documents.protobuf,
}


def decode(path: Path) -> tuple[bool, Iterator[Part]]:
    """Choose how to read a file, by its name and its folder.

    Returns:
        whether it holds rows, which survivors may explain; and its parts.

    Raises:
        StoreCorrupt: no format of the memory has this name; the iterator: it can't be decoded.
    """
    place = path.parent.name
    if path.suffix == ".lance" and place == "data":
        return True, opened(lance_batches(path), path.parents[3])
    if path.suffix == ".tail":
        return True, opened(_tail(path), path.parents[1])
    if place == "_deletions" and path.suffix == ".arrow":
        return False, _deletions(path)
    if path.suffix == ".jsonl":
        return False, _lines(path)
    if path.suffix == ".safetensors" and place == "experts":
        return False, _tensors(path)
    if path.name == "reserve":
        return False, _nothing(path)
    read = _NAMED.get(path.name) or _PLACED.get((place, path.suffix))
    if read is None and path.suffix == ".json":
        settings = path.name == "forgetnet.json"
        read = documents.settings if settings else documents.document
    if read is None:
        raise StoreCorrupt("no file of a memory has this name")
    return False, _whole(path, read)


def _nothing(path: Path) -> Iterator[Part]:
    """Read a file of zeros, which holds room and nothing else."""
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            if any(data):
                raise StoreCorrupt("the reserve holds something")
    yield Loose()


def _lines(path: Path) -> Iterator[Part]:
    with Guard():
        yield from documents.lines(path)


def _tensors(path: Path) -> Iterator[Part]:
    with Guard():
        yield from tensors.tensors(path)
