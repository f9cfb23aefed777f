"""JSON of any size, one value at a time: the text of a document in, its parts out.

Knows no format of messages. Each part that the caller wants is cut out of the stream by its
brackets and given to the standard parser on its own, so that memory is bounded by the largest
part, a part that is broken costs only itself, and a fault has a line. Event parsers were tried
first: the usual one turns half a surrogate pair into a question mark, quotes the text in its
errors, and needs memory quadratic in the depth of a document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, TextIO, TypeAlias

from forgetnet.ingest.source import MAX_CHARS, Fault, undecodable

__all__ = ["ITEM", "Choose", "Part", "Place", "Step", "parse", "walk"]

ITEM = "[]"  # the name of an array's items in a path
_CHUNK = 1 << 16
_LONGEST_LITERAL = 1 << 16  # a number of more digits than that ends the document

Place: TypeAlias = tuple[str, ...]
Part: TypeAlias = tuple[Place, int, Any]

_SPACE = re.compile(r"[ \t\r\n]*+")
_LITERAL = re.compile(r'[^\s,\[\]{}":]*+')
_BODY = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)  # of a string, up to its end
_FLAT = re.compile(r'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)


class Step(Enum):
    """What to do with a value: go into it, take it whole, or pass it by."""

    ENTER = "enter"
    TAKE = "take"
    SKIP = "skip"


Choose: TypeAlias = Callable[[Place, str], Step]


class _Broken(ValueError):
    """The structure is broken: what follows can't be told apart."""


def parse(text: str, line: int) -> Any:
    """Parse one JSON value; a :class:`Fault` at ``line`` where it is broken."""
    if undecodable(text):
        return Fault(line, "holds bytes that the encoding doesn't know; give the right encoding")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return Fault(line, f"not valid JSON at character {error.pos + 1}: {error.msg}")
    except (ValueError, RecursionError):
        return Fault(line, "JSON with a number of too many digits, or nested too deeply")


class _Cursor:
    """The unread part of a document, of which only what is wanted is kept."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._buffer = ""
        self._at = 0
        self.line = 1

    def _more(self) -> bool:
        rest = self._buffer[self._at :]
        new = self._text.read(max(_CHUNK, len(rest)))  # doubling: a long value is copied rarely
        self._buffer, self._at = rest + new, 0
        return bool(new)

    def _advance(self, end: int) -> None:
        self.line += self._buffer.count("\n", self._at, end)
        self._at = end

    def peek(self) -> str:
        """Return the next character that isn't white space, or "" at the end."""
        while True:
            match = _SPACE.match(self._buffer, self._at)
            self._advance(match.end() if match else self._at)
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def expect(self, characters: str) -> str:
        """Consume the next character, which must be one of ``characters``, and return it."""
        found = self.peek()
        if not found or found not in characters:
            raise _Broken
        self._at += 1
        return found

    def take(self, *, keep: bool) -> str | None:
        """Consume one value and return its text; None if it isn't kept or is too long."""
        first = self.peek()
        if first not in ('"', "[", "{"):
            return self._literal()
        quoted = first == '"'
        scan, depth = int(quoted), 0  # scan counts from the start of the value
        while True:
            pattern = _BODY if quoted else _FLAT
            match = pattern.match(self._buffer, self._at + scan)
            end = match.end() if match else self._at + scan
            mark = self._buffer[end : end + 1]
            if mark in ("", "\\"):  # the buffer's end, perhaps in the middle of an escape
                keep = keep and end - self._at <= MAX_CHARS
                if not keep:
                    self._advance(end)
                scan = end - self._at
                if not self._more():
                    raise _Broken
                continue
            if mark == '"':
                quoted = not quoted
            else:
                depth += 1 if mark in "[{" else -1
            scan = end + 1 - self._at
            if depth == 0 and not quoted:
                text = self._buffer[self._at : end + 1] if keep else None
                self._advance(end + 1)
                return text

    def _literal(self) -> str:
        while True:
            match = _LITERAL.match(self._buffer, self._at)
            end = match.end() if match else self._at
            size = end - self._at
            if end < len(self._buffer):
                break
            if size > _LONGEST_LITERAL:
                raise _Broken
            if not self._more():
                end = size  # counted from what is left
                break
        if end == self._at:
            raise _Broken
        text = self._buffer[self._at : end]
        self._advance(end)
        return text


def walk(text: TextIO, choose: Choose) -> Iterator[Part]:
    """Give the chosen parts of a document: (path, line, value) each.

    Args:
        text: the document.
        choose: asked once for every value reached, with its path (names of keys, ``ITEM`` for the
            items of an array) and its first character.

    A part passed by has the value None; a broken part has a :class:`Fault` for a value. Where the
    structure itself is broken, a last part with an empty path holds the fault.
    """
    cursor = _Cursor(text)
    try:
        yield from _value(cursor, (), choose)
        if cursor.peek():
            yield (), cursor.line, Fault(cursor.line, "something follows the JSON document")
    except _Broken:
        reason = "not valid JSON from here on; the rest of the file was not read"
        yield (), cursor.line, Fault(cursor.line, reason)


def _value(cursor: _Cursor, path: Place, choose: Choose) -> Iterator[Part]:
    first = cursor.peek()
    if not first:
        raise _Broken
    line, step = cursor.line, choose(path, first)
    if step is Step.ENTER and first == "[":
        yield from _array(cursor, path, choose)
    elif step is Step.ENTER and first == "{":
        yield from _object(cursor, path, choose)
    else:
        raw = cursor.take(keep=step is not Step.SKIP)
        if step is Step.SKIP:
            yield path, line, None
        elif raw is None:
            yield path, line, Fault(line, f"longer than {MAX_CHARS} characters")
        else:
            yield path, line, parse(raw, line)


def _array(cursor: _Cursor, path: Place, choose: Choose) -> Iterator[Part]:
    cursor.expect("[")
    if cursor.peek() == "]":
        cursor.expect("]")
        return
    while True:
        yield from _value(cursor, (*path, ITEM), choose)
        if cursor.expect(",]") == "]":
            return


def _object(cursor: _Cursor, path: Place, choose: Choose) -> Iterator[Part]:
    cursor.expect("{")
    if cursor.peek() == "}":
        cursor.expect("}")
        return
    while True:
        if cursor.peek() != '"':
            raise _Broken
        line = cursor.line
        name = parse(cursor.take(keep=True) or "", line)
        cursor.expect(":")
        if isinstance(name, str):
            yield from _value(cursor, (*path, name), choose)
        else:
            cursor.peek()
            cursor.take(keep=False)
            yield path, line, Fault(line, "a JSON object has a broken key")
        if cursor.expect(",}") == "}":
            return
