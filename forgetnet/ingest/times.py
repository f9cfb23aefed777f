"""Times as they stand in exports, read into aware datetimes.

Knows nothing of records. A time without a zone is taken for UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime

__all__ = ["clock", "parse_time"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST = 10**8  # seconds: a smaller number is a year or a count, not a moment after 1973
_NUMBER = re.compile(r"\d{9,20}(\.\d{1,9})?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SPOKEN = re.compile(  # 1:56 pm on 8 May, 2023
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})\s*(?P<half>[ap]m)\s+on\s+"
    r"(?P<day>\d{1,2})\s+(?P<month>[a-z]{3})[a-z]*,?\s+(?P<year>\d{4})",
    re.IGNORECASE,
)


def clock(hour: int, half: str | None) -> int:
    """Turn an hour of a twelve-hour clock, with its ``am`` or ``pm``, into one of 24."""
    if not half:
        return hour
    return hour % 12 + (12 if half[0] in "pP" else 0)


def _from_number(value: Decimal) -> datetime | None:
    """Read seconds, milli-, micro- or nanoseconds since 1970, told apart by size."""
    for limit, per_second in ((10**11, 1), (10**14, 10**3), (10**17, 10**6), (10**20, 10**9)):
        if value < limit:
            micros = int((value * 1_000_000 / per_second).to_integral_value())
            return _EPOCH + timedelta(microseconds=micros) if value >= _OLDEST else None
    return None


def _from_text(value: str) -> datetime | None:
    if _NUMBER.fullmatch(value):
        return _from_number(Decimal(value))
    if match := _SPOKEN.fullmatch(value):
        month = match["month"].lower()
        if month not in _MONTHS:
            return None
        return datetime(
            int(match["year"]),
            _MONTHS.index(month) + 1,
            int(match["day"]),
            clock(int(match["hour"]), match["half"]),
            int(match["minute"]),
            tzinfo=UTC,
        )
    if value.isdigit():  # fromisoformat would read a number as a date
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return parsedate_to_datetime(value)


def parse_time(value: object) -> datetime | None:
    """Read a moment in UTC, to the microsecond; None for what isn't one.

    Reads datetimes and dates, ISO 8601, RFC 2822, ``1:56 pm on 8 May, 2023``, and numbers (or
    their digits) of seconds, milli-, micro- or nanoseconds since 1970, from 1973 on.
    """
    try:
        moment: datetime | None
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = _from_number(Decimal(repr(value)))
        elif isinstance(value, str):
            moment = _from_text(value.strip())
        else:
            return None
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, InvalidOperation):
        return None
