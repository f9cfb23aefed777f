"""What ``add`` is given, made into records: from texts or records, one by one or in columns.

Knows nothing of vectors, places or stores.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from operator import attrgetter
from types import NoneType
from typing import Any, cast

from forgetnet.errors import InvalidRecord
from forgetnet.given import names_of
from forgetnet.record import Record, check_record, normalise, split_topic, utc

__all__ = ["common_of", "complete", "items_of", "normalise_all", "uncollected"]

_FEW = 16
_MANY = 1000
_BLANK = Record(text="")
_PLAIN = _BLANK.metadata
_FIELDS = [field.name for field in fields(Record) if field.name != "vector"]


@contextlib.contextmanager
def uncollected(count: int) -> Iterator[None]:
    """Keep the collector of cycles from looking, again and again, at many new objects in none."""
    if count < _MANY or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def items_of(given: object) -> list[str | Record]:
    """Return one text or record, or many, as a list.

    Raises:
        InvalidRecord: it is neither.
    """
    if isinstance(given, str | Record):
        return [given]
    if isinstance(given, Iterable) and not isinstance(given, Mapping | bytes):
        with contextlib.suppress(TypeError):  # such as an array without dimensions
            return list(given)
    raise InvalidRecord(
        f"can't store a {type(given).__name__}; give texts or Records, as Record(text=...)"
    )


def common_of(
    *, metadata: Mapping[str, Any] | None, mentions: object, derived_from: object, **others: Any
) -> Record:
    """Return what the texts of a batch have in common, as a record without text or id.

    Raises:
        InvalidRecord: a value can't be stored; the message lists every reason.
    """
    common = Record(
        text="",
        mentions=names_of(mentions, "mentions", InvalidRecord),
        derived_from=names_of(derived_from, "derived_from", InvalidRecord),
        metadata=_PLAIN if metadata is None else metadata,
        **others,
    )
    if faults := check_record(replace(common, id="common")):
        raise InvalidRecord("; ".join(faults))
    return common if common.metadata else replace(common, metadata=_PLAIN)


def complete(
    items: Sequence[str | Record], common: Record, ids: Sequence[str] | None
) -> Sequence[Record]:
    """Make records of texts, and fill in what records leave open, from the common fields.

    Raises:
        InvalidRecord: an item is neither a text nor a record, or there are not as many ids.
    """
    if ids is not None and len(ids) != len(items):
        raise InvalidRecord(f"{len(items)} items came with {len(ids)} ids")
    if ids is None and common == _BLANK and set(map(type, items)) == {Record}:
        return cast("Sequence[Record]", items)
    return [_complete(item, common, ids[i] if ids else "") for i, item in enumerate(items)]


def _complete(item: str | Record, common: Record, record_id: str) -> Record:
    if isinstance(item, str):
        return replace(common, text=item, id=record_id)
    if not isinstance(item, Record):
        raise InvalidRecord(f"can't store a {type(item).__name__}; give texts or Records")
    return replace(
        item,
        id=item.id or record_id,
        subject=item.subject if item.subject is not None else common.subject,
        topic=item.topic if item.topic is not None else common.topic,
        metadata=item.metadata or common.metadata,
        mentions=item.mentions or common.mentions,
        derived_from=item.derived_from or common.derived_from,
        expires_at=item.expires_at or common.expires_at,
    )


def normalise_all(records: Sequence[Record], now: datetime) -> list[Record]:
    """Do what :func:`normalise` does to a batch; in columns where no record is out of the ordinary.

    Raises:
        InvalidRecord: a record can't be stored; the message lists every reason for the first such.
    """
    columns = [list(map(attrgetter(name), records)) for name in _FIELDS]
    if len(records) < _FEW or not _are_plain(records, *columns):
        return [normalise(record, now) for record in records]
    moment, drawn = utc(now), os.urandom(16 * len(records)).hex()
    columns[1] = [name or drawn[32 * i : 32 * i + 32] for i, name in enumerate(columns[1])]
    columns[6] = [_PLAIN] * len(records)
    columns[7] = [created or moment for created in columns[7]]
    return list(map(Record, *columns))


def _are_plain(
    records: Sequence[Record],
    texts: list[str | None],
    ids: list[str],
    subjects: list[str | None],
    topics: list[str | None],
    *others: list[Any],
) -> bool:
    """Tell quickly whether nothing is wrong with any record, and nothing in it needs a copy."""
    mentions, derived, metadata, created, expires = others
    n, words = len(records), [*texts, *ids, *subjects, *topics]
    if mentions.count(()) < n or derived.count(()) < n or metadata.count(_PLAIN) < n:
        return False
    if set(map(type, ids)) != {str} or not set(map(type, words)) <= {str, NoneType}:
        return False
    if "" in subjects:
        return False
    if None in texts and any(r.text is None and r.vector is None for r in records):
        return False
    moments = [m for m in (*created, *expires) if m is not None]
    if any(type(m) is not datetime or m.tzinfo is not UTC for m in moments):
        return False
    try:
        "".join(filter(None, words)).encode()
        for topic in set(topics):
            split_topic(topic)
    except (UnicodeEncodeError, InvalidRecord):
        return False
    return True
