"""WhatsApp's export of a chat: one text file, a line for each message, more for a long one.

Knows nothing of records. Times are those of the phone that exported, whose zone the file doesn't
say, and are taken for UTC; which number is the day is told from the whole file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from forgetnet.ingest.fields import fit_topic
from forgetnet.ingest.source import DAMAGED, MAX_CHARS, Fault, Row, Source, lines, undecodable
from forgetnet.ingest.times import clock

__all__ = ["is_export", "rows"]

_STAMP = (
    r"(\d{1,4})([./-])(\d{1,2})[./-](\d{2,4}),?\s+"
    r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?:\s*([AaPp])\.?\s?[Mm]\.?)?"
)
_MARKS = "\u200e\u200f\ufeff"  # direction and byte order marks before a stamp
_HEAD = re.compile(rf"[{_MARKS}]*(?:\[{_STAMP}\]\s|{_STAMP}\s[-\u2013]\s)", re.DOTALL)
_SPEAKER = re.compile(r"[\u200e\u200f\u202a-\u202e]*([^:\n]{1,200}?)[\u202c]?:(?:\s|$)")
_MEDIA = re.compile(r"\u200e.*|<[^<>\n]*\s[^<>\n]*>|null", re.DOTALL)
_CHAT = re.compile(r"WhatsApp Chat (?:with|-) (.+)")


def _stamp(line: str) -> tuple[list[str | None], str] | None:
    """Split a line into the parts of its stamp and the rest; None if it has no stamp."""
    match = _HEAD.match(line)
    if match is None:
        return None
    groups = match.groups()
    return list(groups[:8] if groups[0] is not None else groups[8:]), line[match.end() :]


def is_export(source: Source) -> bool:
    """Tell whether the first line that isn't empty begins as a message does."""
    with suppress(*DAMAGED), source.text(newline=None) as text:
        for _, line in lines(text):
            if line is None or line.strip():
                return line is not None and _stamp(line) is not None
    return False


def _day_first(source: Source) -> bool:
    """Tell from the whole file whether dates are day before month.

    A number over 12 settles it; without one, points between the numbers mean the day first, and
    am and pm the month.
    """
    guess = True
    with suppress(*DAMAGED), source.text(newline=None) as text:
        for _, line in lines(text):
            stamp = _stamp(line) if line else None
            if stamp is None:
                continue
            first, mark, second, *_, half = stamp[0]
            if first is None or second is None or len(first) == 4:
                continue
            if int(first) > 12 or mark == ".":
                return True
            if int(second) > 12:
                return False
            guess = not half
    return guess


def _moment(parts: list[str | None], *, day_first: bool) -> datetime | None:
    first, _, second, third, hour, minute, seconds, half = parts
    a, b, c = int(first or 0), int(second or 0), int(third or 0)
    if len(first or "") == 4:
        year, month, day = a, b, c
    else:
        year = c if c > 99 else 2000 + c
        month, day = (b, a) if day_first else (a, b)
    try:
        hours = clock(int(hour or 0), half)
        return datetime(year, month, day, hours, int(minute or 0), int(seconds or 0), tzinfo=UTC)
    except ValueError:
        return None


class _Message:
    """The lines gathered so far of one message."""

    def __init__(self, line: int, when: datetime | None, rest: str | None) -> None:
        self.line = line
        self._when = when
        self._parts = [rest or ""]
        self._size = len(rest or "")
        self._reason: str | None = None

    def add(self, line: str | None) -> None:
        """Gather one more line; None for one that is too long."""
        self._size += MAX_CHARS if line is None else len(line)
        if self._size >= MAX_CHARS:
            self._reason, self._parts = f"longer than {MAX_CHARS} characters", []
        else:
            self._parts.append(line or "")

    def row(self, topic: str | None) -> Row | Fault | None:
        """Return the message; None for a notice, which nobody said."""
        text = "".join(self._parts)
        speaker = _SPEAKER.match(text)
        if self._reason is None and undecodable(text):
            self._reason = "holds bytes that the encoding doesn't know; give the right encoding"
        if self._reason is not None:
            return Fault(self.line, self._reason)
        if speaker is None:
            return None
        if self._when is None:
            return Fault(self.line, "a date that doesn't exist; try day_first the other way round")
        said = text[speaker.end() :].strip()
        if _MEDIA.fullmatch(said):
            return Fault(self.line, "no text: media, or a notice")
        values: dict[str, Any] = {"text": said, "subject": speaker[1].strip()}
        values.update(topic=topic, created_at=self._when)
        return Row(self.line, values)


def rows(source: Source, *, day_first: bool | None = None) -> Iterator[Row | Fault]:
    """Give every message: who said it is its subject, the name of the chat its topic.

    Args:
        source: the exported ``.txt``.
        day_first: whether 3/4 is the third of April; None to tell it from the file.
    """
    if day_first is None:
        day_first = _day_first(Source(source.path, source.encoding))
    stem = source.path.name.removesuffix(".gz").removesuffix(".txt")
    chat = _CHAT.fullmatch(stem)
    title = chat[1] if chat else stem.strip("_")
    topic = fit_topic([title.encode(errors="replace").decode()])
    message: _Message | None = None
    with source.text(newline=None) as text:
        for number, line in lines(text):
            stamp = None if line is None else _stamp(line)
            if stamp is not None:
                if message is not None and (row := message.row(topic)):
                    yield row
                message = _Message(number, _moment(stamp[0], day_first=day_first), stamp[1])
            elif message is not None:
                message.add(line)
            elif line is None or line.strip():
                yield Fault(number, "stands before the first message")
    if message is not None and (row := message.row(topic)):
        yield row
