"""Tables as rows of cells, without the csv module: its limit for a cell is the whole process's.

Quotes are held to the rules (RFC 4180), so that one that is left open can't swallow the rows after
it. Knows nothing of concepts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from forgetnet.errors import InvalidRecord
from forgetnet.taxonomy.paths import MAX_NAME

__all__ = ["table_rows"]

_END = re.compile(r"\r\n|[,\r\n]|\Z")
_PLAIN = re.compile(r"[^,\r\n]*")
_QUOTED = re.compile(r'[^"]*(?:""[^"]*)*')


def table_rows(text: str, *, tabs: bool) -> Iterator[tuple[int, list[str]]]:
    """Iterate over rows that aren't blank: the number of the line that each ends on, and its cells.

    Args:
        text: with any kind of line ends.
        tabs: cells are parted by tabs, and quotes mean nothing; else by commas, and a cell that
            begins with a quote may hold commas, lines, and quotes that are doubled.

    Raises:
        InvalidRecord: a quote is never closed, or something else follows it; with the line.
    """
    row: list[str] = []
    held: list[str] | None = None  # of a cell in quotes, which goes on in the next line
    number = size = 0
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if held is None and (tabs or '"' not in line):
            if plain := line.rstrip("\r\n"):
                yield number, plain.split("\t" if tabs else ",")
            continue
        at, more = 0, True
        while more:
            if held is None and line.startswith('"', at):
                held, size, at = [], 0, at + 1
            part = _match(_PLAIN if held is None else _QUOTED, line, at)
            at += len(part)
            if held is None:
                row.append(part)
            else:
                held.append(part)
                size += len(part)
                if size > 2 * MAX_NAME:  # as if each character were a quote, which is doubled
                    raise InvalidRecord(
                        f"line {number}: a cell has more than {MAX_NAME} characters; shorten it, "
                        "or close the quote that it begins with"
                    )
                if at == len(line):
                    break
                row.append("".join(held).replace('""', '"'))
                held, at = None, at + 1
            end = _END.match(line, at)
            if end is None:
                raise InvalidRecord(
                    f"line {number}: text follows a closing quote; double a quote that is meant"
                )
            at, more = end.end(), end[0] == ","
        else:
            yield number, row
            row = []
    if held is not None:
        raise InvalidRecord(f"line {number}: a quote is opened, there or before, and never closed")


def _match(pattern: re.Pattern[str], line: str, at: int) -> str:
    """Return what a pattern that may match nothing takes."""
    found = pattern.match(line, at)
    return "" if found is None else found[0]
