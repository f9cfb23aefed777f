"""Records as a model learns from them: with their vectors, and what a memory puts beside them.

Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from forgetnet.fallback.rack import Leaver
from forgetnet.record import Record, id_hash
from forgetnet.store import Floats, Query, Store

__all__ = ["Rows", "live_rows", "with_context"]


@dataclass(frozen=True)
class Rows:
    """Records that a model learns from, or is asked about.

    Attributes:
        records: n records, in canonical order.
        vectors: (n, d) content vectors, as stored.
        context: for each what the memory finds beside it, the nearest first; empty without memory.
            Among very many records some of the nearest may be missing, as in any search, and the
            same ones whatever was there before.
    """

    records: tuple[Record, ...]
    vectors: Floats
    context: tuple[tuple[Record, ...], ...]

    def __len__(self) -> int:
        return len(self.records)

    def first(self, count: int) -> Rows:
        """Return the first rows."""
        return Rows(self.records[:count], self.vectors[:count], self.context[:count])

    def leavers(self) -> list[Leaver]:
        """Return each record with its vector."""
        return list(zip(self.records, self.vectors, strict=True))


def with_context(store: Store, rows: Sequence[Leaver], neighbours: int) -> Rows:
    """Return rows with what the store finds beside each, at most so many; never itself."""
    context: list[tuple[Record, ...]] = []
    for record, vector in rows:
        near: list[str] = []
        if neighbours:
            found = store.search(Query(vector, neighbours + 1))
            near = [i for i, _ in found if i != record.id][:neighbours]
        live = store.get(near)
        context.append(tuple(live[i] for i in near if i in live))
    dim = len(rows[0][1]) if rows else 0
    vectors = np.array([vector for _, vector in rows], np.float32).reshape(len(rows), dim)
    return Rows(tuple(record for record, _ in rows), vectors, tuple(context))


def live_rows(store: Store, ids: Collection[str], neighbours: int = 0) -> Rows:
    """Return live records in canonical order."""
    order = sorted(ids, key=id_hash)
    found, (content, _) = store.get(order), store.vectors(order)
    return with_context(store, [(found[i], content[n]) for n, i in enumerate(order)], neighbours)
