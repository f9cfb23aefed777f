"""Export and import without loss: records as JSON Lines, vectors beside them.

The first line is a header (``{"forgetnet": 1, "encoder": ..., "dim": ..., "records": ...}``), each
other line one record: its fields as canonical JSON, times as ISO 8601 in UTC, the content vector
as base64 of its little-endian float32. Topic codes aren't written: they are computed again from
the path. Records stand in the order of the hash of their ids, so that equal memories give equal
files, whatever their history. What is forgotten later stays in a file written before.
"""

from forgetnet.exchange.file import VERSION, Header, read_export, write_export
from forgetnet.exchange.lines import decode_line, encode_line
from forgetnet.exchange.transfer import check_memory, not_stored, read_memory, write_memory

__all__ = [
    "VERSION",
    "Header",
    "check_memory",
    "decode_line",
    "encode_line",
    "not_stored",
    "read_export",
    "read_memory",
    "write_export",
    "write_memory",
]
