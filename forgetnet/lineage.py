"""What was made from what: the records that go when their source goes.

Knows nothing of deletion; it only follows ``derived_from``.
"""

from __future__ import annotations

from collections.abc import Iterable

from forgetnet.store import Store

__all__ = ["descendants"]


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
