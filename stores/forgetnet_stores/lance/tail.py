"""Tails: what came to a leaf since its piece was written, as a file of checksummed frames.

A frame is ``FNTF``, the sequence number of its batch (8 bytes), its part and the number of parts
of the batch (4 bytes each), the payload's length (8 bytes) and CRC-32 (4 bytes), all little-endian,
then the payload: an Arrow IPC stream of rows, or of the keys of dead rows. A batch may have a
part in several tails; it counts once every part is there, or once a manifest names a sequence
number at or after its own. Knows nothing of manifests.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from forgetnet.errors import StoreCorrupt

__all__ = ["HEADER", "MAGIC", "Frame", "encode_frame", "read_frames"]

MAGIC = b"FNTF"
HEADER = struct.Struct("<4sQIIQI")


@dataclass(frozen=True, slots=True)
class Frame:
    """One part of one batch, and where it lies in its tail."""

    sequence: int
    part: int
    parts: int
    start: int
    end: int
    table: pa.Table


def encode_frame(table: pa.Table, sequence: int, part: int, parts: int) -> bytes:
    """Serialise one frame."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    payload = sink.getvalue().to_pybytes()
    return (
        HEADER.pack(MAGIC, sequence, part, parts, len(payload), zlib.crc32(payload)) + payload
    )


def read_frames(path: Path, start: int = 0) -> Iterator[Frame]:
    """Iterate over the whole frames of a tail from byte ``start``; stop before a torn last one.

    Raises:
        StoreCorrupt: a frame that isn't the last doesn't check out.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    position = start
    while position + HEADER.size <= len(data):
        magic, sequence, part, parts, length, crc = HEADER.unpack_from(data, position)
        end = position + HEADER.size + length
        payload = data[position + HEADER.size : end]
        if magic != MAGIC or end > len(data) or zlib.crc32(payload) != crc:
            if end < len(data) and data.find(MAGIC, position + 1) >= 0:
                raise StoreCorrupt(
                    f"tail {path.name} has a damaged frame at byte {position}; restore the store "
                    "from a backup"
                )
            return
        table = pa.ipc.open_stream(payload).read_all()
        yield Frame(sequence, part, parts, position, end, table)
        position = end
