"""CSV and TSV: a header, then one row a record; a quoted cell may hold lines.

Knows nothing of records. Quotes are held to the rules, so that a cell left open can't swallow the
rows after it: where a row is broken, only its first line is given up and the next are read anew.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import TextIO

from forgetnet.errors import InvalidRecord
from forgetnet.ingest.source import MAX_CHARS, Fault, Row, Source, undecodable

__all__ = ["rows", "tab_rows"]

_QUOTED = re.compile(r'"[^"]*"?')
_DELIMITERS = ",;\t|"


class _Lines:
    """Physical lines with their numbers; those of the row being read can be put back."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._again: deque[tuple[int, str]] = deque()
        self._number = 0
        self.held: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._again:
            number, line = self._again.popleft()
        else:
            line = self._text.readline(MAX_CHARS)
            if not line:
                raise StopIteration
            self._number += 1
            number = self._number
        self.held.append((number, line))
        return line

    def put_back(self, first: int) -> None:
        """Read the lines held again, from ``first`` of them on."""
        self._again.extendleft(reversed(self.held[first:]))
        self.held.clear()


def _delimiter(lines: _Lines) -> str:
    """Tell the delimiter from the header: the one that it holds most often outside quotes."""
    first = _QUOTED.sub("", next(lines, ""))
    lines.put_back(0)
    return max(_DELIMITERS, key=first.count)


def _names(header: list[str]) -> list[str]:
    """Name every column once: ``column_3`` where it has no name, ``name_2`` where it is taken."""
    names: list[str] = []
    for number, cell in enumerate(header, 1):
        name = wanted = cell.strip() or f"column_{number}"
        copy = 1
        while name in names:
            copy += 1
            name = f"{wanted}_{copy}"
        names.append(name)
    return names


def _read(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | Fault]]:
    """Give the number of each row's first line, and its cells or what is wrong with it."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.held.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number = lines.held[0][0]
            lines.put_back(1)
            yield number, Fault(number, f"broken CSV: {error}")
            continue
        number = lines.held[0][0]
        if any(undecodable(line) for _, line in lines.held):
            reason = "holds bytes that the encoding doesn't know; give the right encoding"
            yield number, Fault(number, reason)
        elif cells:
            yield number, cells


def rows(source: Source, delimiter: str | None = None) -> Iterator[Row | Fault]:
    """Read a table with a header, comma, semicolon, tab or bar between the cells.

    Raises:
        InvalidRecord: the header can't be read.
    """
    if csv.field_size_limit() < MAX_CHARS:  # the module has one limit for the whole process
        csv.field_size_limit(MAX_CHARS)
    with source.text(newline="") as text:
        lines = _Lines(text)
        parts = _read(lines, delimiter or _delimiter(lines))
        number, header = next(parts, (1, []))
        if isinstance(header, Fault):
            raise InvalidRecord(f"{source.path}: the header can't be read ({header.reason})")
        names = _names(header)
        for number, cells in parts:
            if isinstance(cells, Fault):
                yield cells
                continue
            while len(cells) > len(names) and not cells[-1]:
                cells.pop()
            if len(cells) != len(names):
                reason = f"the row has {len(cells)} cells and the header {len(names)}"
                yield Fault(number, reason)
            else:
                yield Row(number, dict(zip(names, cells, strict=True)))


def tab_rows(source: Source) -> Iterator[Row | Fault]:
    """Read a table with tabs between the cells."""
    return rows(source, "\t")
