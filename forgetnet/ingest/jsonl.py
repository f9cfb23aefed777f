"""JSON Lines: one object a line.

Knows nothing of records. A line that is broken costs only itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from forgetnet.ingest.fields import Fields
from forgetnet.ingest.jsonstream import parse
from forgetnet.ingest.messages import expand
from forgetnet.ingest.source import MAX_CHARS, Fault, Row, Source, lines

__all__ = ["rows"]


def rows(source: Source, fields: Fields) -> Iterator[Row | Fault]:
    """Read a file of JSON Lines; a line holding a conversation gives a row for each message."""
    with source.text() as text:
        for number, line in lines(text):
            if line is None:
                yield Fault(number, f"longer than {MAX_CHARS} characters")
            elif stripped := line.strip():
                value = parse(stripped, number)
                if isinstance(value, Fault):
                    yield value
                elif isinstance(value, dict):
                    for values in expand(value, fields):
                        yield Row(number, values)
                else:
                    yield Fault(number, f"not a JSON object, but {type(value).__name__}")
