"""What was made from what: the records that go when their source goes.

Knows nothing of deletion; it only follows ``derived_from``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from forgetnet.record import Record
from forgetnet.store import Store

__all__ = ["descendants", "with_ancestors"]


def descendants(store: Store, ids: Iterable[str]) -> list[str]:
    """Return the live records derived from ``ids``, directly or not, without ``ids`` themselves.

    Ids that are no longer live count as sources too.
    """
    sources = dict.fromkeys(ids)
    found: dict[str, None] = {}
    queue = list(sources)
    while queue:
        source = queue.pop()
        for record in store.scan({"derived_from": {"$contains": source}}):
            if record.id not in sources and record.id not in found:
                found[record.id] = None
                queue.append(record.id)
    return sorted(found)


def with_ancestors(store: Store, records: Sequence[Record]) -> list[Record]:
    """Return the records of a batch, each derived from its sources' sources as well.

    So a record still goes with its distant source when one between them was deleted alone.
    """
    if not any(record.derived_from for record in records):
        return list(records)
    fresh = {record.id: record for record in records}
    return [
        record
        if not record.derived_from
        else replace(record, derived_from=_ancestors(store, fresh, record))
        for record in records
    ]


def _ancestors(store: Store, fresh: Mapping[str, Record], record: Record) -> tuple[str, ...]:
    found = dict.fromkeys(record.derived_from)
    queue = list(found)
    while queue:
        source = queue.pop()
        parent = fresh.get(source) or store.get([source]).get(source)
        for name in () if parent is None else parent.derived_from:
            if name not in found and name != record.id:
                found[name] = None
                queue.append(name)
    return tuple(sorted(found))
