"""Tails: what came to a leaf since its piece was written, as a file of checksummed frames.

A frame is ``FNTF``, the sequence number of its batch (8 bytes), its part and the number of parts
of the batch (4 bytes each), the payload's length (8 bytes) and the CRC-32 of these 28 bytes and
the payload (4 bytes), all little-endian, then the payload: an Arrow IPC stream of rows, or of the
keys of dead rows. Knows nothing of manifests, nor of which batches count.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgetnet.errors import StoreCorrupt

__all__ = ["HEADER", "MAGIC", "Frame", "encode_frame", "read_frames"]

MAGIC = b"FNTF"
HEADER = struct.Struct("<4sQIIQI")
_CHECKED = HEADER.size - 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One part of one batch, and where it lies in its tail."""

    sequence: int
    part: int
    parts: int
    start: int
    end: int
    payload: bytes = field(repr=False)

    def table(self) -> pa.Table:
        """Decode the payload."""
        return pa.ipc.open_stream(self.payload).read_all()

    def spots(self, table: pa.Table, name: str) -> npt.NDArray[np.int64]:
        """Return at which byte of the tail each row of a column of vectors begins.

        Arrow decodes in place, so that where a column lies in memory says where it lies in the
        payload. Whoever reads there checks what is found.

        Args:
            table: what :meth:`table` returned.
            name: of a column of lists of one size.
        """
        first = self.start + HEADER.size - pa.py_buffer(self.payload).address
        found = [np.zeros(0, np.int64)]
        for chunk in table.column(name).chunks:
            values = chunk.flatten()
            width = values.type.bit_width // 8 * chunk.type.list_size
            begin = first + values.buffers()[1].address + values.offset * values.type.bit_width // 8
            found.append(begin + width * np.arange(len(chunk)))
        return np.concatenate(found)


def encode_frame(table: pa.Table, sequence: int, part: int, parts: int) -> bytes:
    """Serialise one frame."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    payload = sink.getvalue().to_pybytes()
    return _seal(HEADER.pack(MAGIC, sequence, part, parts, len(payload), 0), payload)


def _seal(header: bytes, payload: bytes) -> bytes:
    crc = zlib.crc32(payload, zlib.crc32(header[:_CHECKED]))
    return b"".join((header[:_CHECKED], crc.to_bytes(4, "little"), payload))


def read_frames(path: Path, start: int = 0, least: int = 0) -> Iterator[Frame]:
    """Iterate over the whole frames of a tail; stop before a last one that a crash cut short.

    Args:
        path: the tail; a missing one has no frames.
        start: byte at which a frame begins.
        least: bytes that are known to have been written whole.

    Raises:
        StoreCorrupt: bytes were changed, or cut off below ``least``.
    """
    data = b""
    if path.exists():
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
    position = 0
    while (frame := _frame(data, position, start)) is not None:
        yield frame
        position = frame.end - start
    if start + position < least or not _is_torn(data, position):
        raise StoreCorrupt(
            f"tail {path.name} was changed or cut at byte {start + position}; restore the store "
            "from a backup"
        )


def _frame(data: bytes, position: int, start: int = 0) -> Frame | None:
    """Read the frame at a position of the data; None where there is no whole one."""
    if len(data) - position < HEADER.size:
        return None
    magic, sequence, part, parts, length, crc = HEADER.unpack_from(data, position)
    begin = position + HEADER.size
    end = begin + length
    if magic != MAGIC or end > len(data):
        return None
    payload = data[begin:end]
    if zlib.crc32(payload, zlib.crc32(data[position : position + _CHECKED])) != crc:
        return None
    return Frame(sequence, part, parts, start + position, start + end, payload)


def _is_torn(data: bytes, position: int) -> bool:
    """Tell the end of an append that was cut short, or taken back, from damage.

    Appends reach a file from front to back, and a batch that failed is zeroed from its header on;
    so what is neither a prefix of a frame nor begins with a zeroed header was changed by others.
    """
    size = len(data) - position - HEADER.size
    if size < 0 or not any(data[position : position + HEADER.size]):
        return True
    magic, sequence, part, parts, length, crc = HEADER.unpack_from(data, position)
    if magic != MAGIC:
        return False
    if length == size:  # all there but for its last blocks: Arrow ends a stream with FF FF FF FF 0
        return not any(data[-8:])
    if length < size or _whole_after(data, position):
        return False
    # Shorter than it says. Unless it says so wrongly: then the checksum fits the true length.
    true = HEADER.pack(magic, sequence, part, parts, size, crc)
    return _frame(true + data[position + HEADER.size :], 0) is None


def _whole_after(data: bytes, position: int) -> bool:
    while (position := data.find(MAGIC, position + 1)) >= 0:
        if _frame(data, position) is not None:
            return True
    return False
