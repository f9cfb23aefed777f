"""From rows to records: which field is the text, whose it is, and what is left for metadata.

Knows no file format. A field that the caller names must be there and must fit; one that is only
guessed by its name is taken where it fits and stays in the metadata where it doesn't, so that a
guess never costs a row.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.ingest.source import Fault, Row
from forgetnet.ingest.times import parse_time
from forgetnet.record import MAX_TOPIC_DEPTH, Record, check_record

__all__ = ["Fields", "fit_topic", "has_text", "map_rows", "name_of", "to_record"]

_TEXT = ("text", "content", "message", "body", "memory", "value")
_SUBJECT = (
    *("subject", "user_id", "user", "speaker", "author", "sender", "from", "username", "name"),
    "role",
)
_TOPIC = ("topic", "category", "channel")
_ID = ("id", "_id", "message_id", "msg_id", "uuid")
_CREATED = (
    *("created_at", "created", "timestamp", "create_time", "datetime", "date", "time", "ts"),
    "sent_at",
)
_MENTIONS = ("mentions",)
_DERIVED = ("derived_from",)  # these two must fit: a record would outlive its source or its time
_EXPIRES = ("expires_at",)
_PERSON = ("name", "username", "id", "role")  # of a subject that is an object
_WORDS = ("parts", "text", "content", "value")  # of a text that is an object
_WINDOW = 100  # rows looked at before a field is said to be missing
_LISTED = 30  # names of fields in an error
_LONGEST_NAME = 40  # characters of each: a file without header must not spill its text

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field of a row is what; None leaves it to the names of the fields.

    ``a.b`` names the field ``b`` of the object ``a``. ``metadata`` None keeps every field not
    taken otherwise. Without ``guess`` only our own names (text, subject, topic, ...) are looked
    for, as in the rows of a chat export.
    """

    text: str | None = None
    subject: str | None = None
    topic: str | None = None
    id: str | None = None
    created: str | None = None
    mentions: str | None = None
    vector: str | None = None
    metadata: tuple[str, ...] | None = None
    guess: bool = True

    def named(self) -> list[str]:
        """List the fields that the caller named."""
        one = (self.text, self.subject, self.topic, self.id, self.created, self.mentions)
        names = [name for name in (*one, self.vector) if name is not None]
        return names + [name for name in self.metadata or () if name not in names]

    def candidates(self, named: str | None, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names to try for one part of a record."""
        if named is not None:
            return (named,)
        return names if self.guess else names[:1]


def _look(values: Mapping[str, Any], name: str) -> tuple[bool, Any]:
    if name in values:
        return True, values[name]
    head, dot, rest = name.partition(".")
    if dot and isinstance(values.get(head), Mapping):
        return _look(values[head], rest)
    return False, None


def _has(values: Mapping[str, Any], name: str) -> bool:
    return _look(values, name)[0] or _look(values, f"metadata.{name}")[0]


def _drop(values: dict[str, Any], name: str) -> None:
    if name in values:
        del values[name]
        return
    head, _, rest = name.partition(".")
    inner = dict(values[head])
    _drop(inner, rest)
    values[head] = inner


def _text_of(value: object) -> str | None:
    """Read a text: a string, bytes, parts of a message, or an object with one of these inside."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, list):
        parts = [part for item in value if (part := _text_of(item)) is not None]
        return "\n".join(parts) if parts or not value else None
    if isinstance(value, Mapping):
        inner = _word_of(value)
        return None if inner is None else _text_of(value[inner])
    return None


def _word_of(value: Mapping[str, Any]) -> str | None:
    """Name the field of an object that holds its text."""
    return next((name for name in _WORDS if _text_of(value.get(name)) is not None), None)


def name_of(value: object) -> str | None:
    """Read a name: a string, a whole number, or an object with a name or an id inside."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return next((s for n in _PERSON if (s := name_of(value.get(n)))), None)
    return None


def fit_topic(names: Iterable[str]) -> str | None:
    """Join names into a topic path: empty ones left out, those too deep joined into the last."""
    kept = [name for name in names if name]
    if len(kept) > MAX_TOPIC_DEPTH:
        kept[MAX_TOPIC_DEPTH - 1 :] = ["+".join(kept[MAX_TOPIC_DEPTH - 1 :])]
    return "/".join(kept) or None


def _topic_of(value: object) -> str | None:
    return fit_topic(value.split("/")) if isinstance(value, str) else None


def _names_of(value: object) -> tuple[str, ...] | None:
    """Read several names: a list, or a string with ``;`` between them or holding a JSON list."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return None
        else:
            value = [part.strip() for part in value.split(";")]
    if not isinstance(value, list):
        return None
    names = [name_of(item) for item in value]
    if None in names:
        return None
    return tuple(sorted({name for name in names if name}))


def _vector_of(value: object) -> npt.NDArray[np.float32] | None:
    if not isinstance(value, list | np.ndarray):
        return None
    try:
        vector = np.asarray(value, dtype=np.float32)
    except (ValueError, TypeError):
        return None
    return vector if vector.ndim == 1 and vector.size else None


def _plain(value: Any) -> Any:
    """Turn a value into plain JSON; NaN counts as missing, bytes become base64."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        number = float(value)
        return number if math.isfinite(number) and Decimal(repr(number)) == value else str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, UUID):
        return str(value)
    raise InvalidRecord(f"a field holds a value of type {type(value).__name__}; leave it out")


def _take(
    values: dict[str, Any],
    names: tuple[str, ...],
    read: Callable[[object], T | None],
    wanted: str,
    *,
    named: bool,
) -> T | None:
    """Take the first of ``names`` that ``read`` accepts out of ``values``."""
    for name in names:
        value = _look(values, name)[1]
        if value is None or value == "":
            continue
        got = read(value)
        if got is None:
            if named:
                raise InvalidRecord(f"the field {_shown(name)} doesn't hold {wanted}")
        else:
            if not isinstance(value, Mapping):  # an object says more than what was read of it
                _drop(values, name)
            return got
    return None


def _take_text(values: dict[str, Any], fields: Fields) -> str | None:
    """Take the first text that isn't blank, or else the first there is."""
    blank: str | None = None
    for name in fields.candidates(fields.text, _TEXT):
        found, value = _look(values, name)
        text = _text_of(value)
        if text is None:
            if found and value is not None and fields.text is not None:
                raise InvalidRecord(f"the field {_shown(name)} doesn't hold text")
            continue
        if text.strip():
            inner = _word_of(value) if isinstance(value, Mapping) else None
            _drop(values, name if inner is None else f"{name}.{inner}")
            return text
        blank = text if blank is None else blank
    return blank


def has_text(values: Mapping[str, Any], fields: Fields) -> bool:
    """Tell whether a row has the field of the text, blank or not."""
    if fields.text is not None:
        return _look(values, fields.text)[0]
    names = fields.candidates(None, _TEXT)
    return any(_text_of(values.get(name)) is not None for name in names)


def _metadata(values: dict[str, Any], kept: tuple[str, ...] | None) -> dict[str, Any]:
    inner = values.get("metadata")
    if isinstance(inner, Mapping) and not (inner.keys() & (values.keys() - {"metadata"})):
        values = {**values, **inner}
        del values["metadata"]
    if kept is not None:
        values = {name: _look(values, name)[1] for name in kept}
    plain = {str(name): _plain(value) for name, value in values.items() if value != ""}
    return {name: value for name, value in plain.items() if value is not None}


def to_record(row: Row, fields: Fields) -> Record:
    """Make a record of a row, checked; takes the row's values apart.

    Raises:
        InvalidRecord: the row can't be stored; the message lists the reasons, without its text.
    """
    values = row.values

    def take(
        named: str | None,
        names: tuple[str, ...],
        read: Callable[[object], T | None],
        wanted: str,
    ) -> T | None:
        tried = fields.candidates(named, names)
        return _take(values, tried, read, wanted, named=named is not None)

    vector = None
    if fields.vector is not None:
        vector = take(fields.vector, (), _vector_of, "a list of numbers")
    text = _take_text(values, fields)
    if text is None or not text.strip():
        if vector is None:
            raise InvalidRecord("the text is empty")
        text = None
    parts: dict[str, Any] = {
        "id": take(fields.id, _ID, name_of, "an id") or "",
        "subject": take(fields.subject, _SUBJECT, name_of, "a name"),
        "topic": take(fields.topic, _TOPIC, _topic_of, "a topic path"),
        "mentions": take(fields.mentions, _MENTIONS, _names_of, "a list of names") or (),
        "created_at": take(fields.created, _CREATED, parse_time, "a time that can be read"),
        "derived_from": _take(values, _DERIVED, _names_of, "a list of ids", named=True) or (),
        "expires_at": _take(values, _EXPIRES, parse_time, "a time", named=True),
    }
    metadata = _metadata(values, fields.metadata)
    record = Record(text=text, vector=vector, metadata=metadata, **parts)
    if faults := check_record(record if record.id else replace(record, id="new")):
        raise InvalidRecord("; ".join(faults))
    return record


def _shown(name: str) -> str:
    short = len(name) <= _LONGEST_NAME
    return repr(name) if short else f"(a name of {len(name)} characters)"


def _listed(seen: Iterable[str]) -> str:
    names = sorted(seen)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(_shown(name) for name in names[:_LISTED]) + more


def _names_in(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield name
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value)


def map_rows(rows: Iterable[Row | Fault], fields: Fields) -> Iterator[Record | Fault]:
    """Make records of rows, one by one; a row that can't be one becomes a fault.

    Raises:
        InvalidRecord: none of the first rows has a text field, or a field that the caller named;
            the message lists the fields there are.
    """
    rows = iter(rows)
    held: list[Row | Fault] = []
    seen: set[str] = set()
    missing, texted, count = fields.named(), fields.vector is not None, 0
    while count < _WINDOW and len(held) < _WINDOW and (missing or not texted):
        row = next(rows, None)
        if row is None:
            break
        held.append(row)
        if isinstance(row, Row):
            count += 1
            seen.update(_names_in(row.values))
            texted = texted or has_text(row.values, fields)
            missing = [name for name in missing if not _has(row.values, name)]
    if count and missing:
        raise InvalidRecord(f"there is no field {_shown(missing[0])}; there are {_listed(seen)}")
    if count and not texted:
        raise InvalidRecord(
            f"no field looks like the text; there are {_listed(seen)}; "
            "name the one to take with text_field (--text-field)"
        )
    for row in chain(held, rows):
        if isinstance(row, Fault):
            yield row
            continue
        try:
            record = to_record(row, fields)
        except InvalidRecord as error:
            yield row.fault(str(error))
        except RecursionError:
            yield row.fault("nested too deeply")
        else:
            yield record
