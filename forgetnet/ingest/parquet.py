"""Parquet files, batch by batch.

Knows nothing of records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forgetnet.errors import InvalidRecord
from forgetnet.ingest.source import Fault, Row, Source

__all__ = ["rows"]

_BATCH = 256  # rows decoded at once


def _microseconds(batch: Any) -> Any:
    """Round times to the microsecond: Python's own have no more."""
    import pyarrow as pa

    for place, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            kind = pa.timestamp("us", column.type.tz)
            batch = batch.set_column(
                place, column.with_type(kind), batch.column(place).cast(kind, safe=False)
            )
    return batch


def _decoded(batch: Any) -> Iterator[dict[str, Any] | None]:
    """Give the rows of a batch; None for one with text that isn't UTF-8."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            try:
                yield from batch.slice(place, 1).to_pylist()
            except UnicodeDecodeError:
                yield None


def rows(source: Source) -> Iterator[Row | Fault]:
    """Read a Parquet file; a row's line is its number, from 1.

    Raises:
        InvalidRecord: it isn't a Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size, told, number = source.size() or 0, 0, 0
    with Source(source.path).bytes() as binary:
        try:
            file = pq.ParquetFile(binary, buffer_size=1 << 20)
        except (pa.ArrowException, OSError, EOFError):
            raise InvalidRecord(f"{source.path} isn't a Parquet file, or is damaged") from None
        total = file.metadata.num_rows
        batches = file.iter_batches(batch_size=_BATCH, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError, EOFError):
                yield Fault(number + 1, "the file is damaged; the rest was not read")
                break
            if batch is None:
                break
            for values in _decoded(_microseconds(batch)):
                number += 1
                row = Row(number, values or {}, label="row")
                yield row if values is not None else row.fault("holds text that isn't UTF-8")
            if source.on_bytes is not None and total:
                source.on_bytes(size * number // total - told)
                told = size * number // total
    if source.on_bytes is not None and told < size:
        source.on_bytes(size - told)
