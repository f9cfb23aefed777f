"""Live records in memory: by id, by whose they are, by meaning, and by their words.

Both engines serve from one of these; an engine adds where, and whether, the bytes are kept. The
table holds exactly the live set: what is removed leaves no entry behind in any of its indexes.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord, StoreError
from forgetnet.filters import Filter, compile_filter, required
from forgetnet.index import Index, Tags
from forgetnet.record import Record, canonical_bytes, id_hash
from forgetnet.store import PLACE_DIM, Cone, Floats, Query, TextQuery
from forgetnet.words import Words

__all__ = ["Table", "check_batch", "query_vector"]

# How far the square of a vector's norm may be from 1: what float16 and float32 encoders give.
_UNIT = 2e-3
# Of a longer list of ends so many are moved one by one.
_FEW = 64
_SINGLE = ("subject", "topic")
_MANY = ("mentions", "derived_from")

Ints = npt.NDArray[np.int64]


def check_batch(
    records: Sequence[Record],
    content: Floats,
    place: Floats,
    live: Mapping[str, Record],
    *,
    dim: int,
    replace: bool,
) -> None:
    """Check the shapes, numbers and ids of a batch before anything is stored.

    Raises:
        InvalidRecord: vectors aren't (n, dim) unit vectors, places aren't (n, 17) finite numbers,
            an id comes twice, or is live already and ``replace`` is off.
    """
    _check_shape("content vectors", content, len(records), dim)
    _check_shape("places", place, len(records), PLACE_DIM)
    squares = np.einsum("ij,ij->i", content, content)
    unit = np.abs(squares - 1.0) <= _UNIT
    if not unit.all():
        _check_finite("content vectors", content)
        ids = _some([records[i].id for i in np.flatnonzero(~unit).tolist()])
        raise InvalidRecord(f"vectors that don't have length 1: {ids}; nothing was stored")
    _check_finite("places", place)
    ids_seen = {record.id for record in records}
    if len(ids_seen) < len(records):
        counts = Counter(record.id for record in records)
        twice = _some([i for i, n in counts.items() if n > 1])
        raise InvalidRecord(f"ids that come twice in one batch: {twice}; nothing was stored")
    if not replace and not live.keys().isdisjoint(ids_seen):
        known = [i for i in ids_seen if i in live]
        raise InvalidRecord(
            f"ids that are stored already: {_some(known)}; use update to change a record; "
            "nothing was stored"
        )


def _check_shape(name: str, values: Floats, n: int, width: int) -> None:
    if values.shape != (n, width):
        raise InvalidRecord(
            f"{n} records need {name} of the shape {(n, width)}, not {values.shape}; "
            "nothing was stored"
        )


def _check_finite(name: str, values: Floats) -> None:
    if not np.isfinite(values).all():
        raise InvalidRecord(f"{name} hold NaN or infinite numbers; nothing was stored")


def query_vector(query: Query, dim: int) -> Floats:
    """Return the checked (dim,) float32 vector of a query.

    Raises:
        InvalidRecord: it isn't a unit vector of length ``dim``.
    """
    vector: Floats = np.ascontiguousarray(query.vector, np.float32)
    if vector.shape != (dim,):
        raise InvalidRecord(f"a query vector has the shape {vector.shape}, not {(dim,)}")
    if not abs(float(vector @ vector) - 1.0) <= _UNIT:
        raise InvalidRecord(
            "a query vector doesn't have length 1; divide it by its norm, which must be finite and "
            "not 0"
        )
    return vector


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(repr(i[:80]) for i in sorted(ids)[:5])
    return shown if len(ids) <= 5 else f"{shown} and {len(ids) - 5} more"


class Table:
    """The live set of records, with an index over their vectors.

    Args:
        dim: length of a content vector.
        salt: keys the pivots of the index.
        filed: content vectors are read from the files that :meth:`lay` names.
    """

    def __init__(self, dim: int, salt: bytes = b"", *, filed: bool = False) -> None:
        self.records: dict[str, Record] = {}
        self.flat = Index(dim, salt, filed=filed)
        self._by: dict[str, dict[str, dict[str, None]]] = {name: {} for name in _SINGLE + _MANY}
        self._ends = _Ends()
        self._words = Words(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def add(
        self,
        records: Sequence[Record],
        content: Floats,
        place: Floats,
        tags: Tags | None = None,
    ) -> None:
        """Take in records with new ids, each with a number that the engine knows it by."""
        ids = [record.id for record in records]
        self.flat.add(ids, content, place, tags)
        self.records.update(zip(ids, records, strict=True))
        subjects, topics = self._by["subject"], self._by["topic"]
        for i, record in zip(ids, records, strict=True):
            if (subject := record.subject) is not None:
                if (group := subjects.get(subject)) is None:
                    group = subjects[subject] = {}
                group[i] = None
            if (topic := record.topic) is not None:
                if (group := topics.get(topic)) is None:
                    group = topics[topic] = {}
                group[i] = None
            for name in _MANY if record.mentions or record.derived_from else ():
                for value in getattr(record, name):
                    self._by[name].setdefault(value, {})[i] = None
        self._ends.add(records)
        self._words.add(records)

    def remove(self, ids: Iterable[str]) -> list[Record]:
        """Drop the live records of ``ids`` and return them."""
        gone = [record for i in ids if (record := self.records.pop(i, None)) is not None]
        self.flat.remove([record.id for record in gone])
        for record in gone:
            for name, value in _entries(record):
                group = self._by[name][value]
                del group[record.id]
                if not group:
                    del self._by[name][value]
        self._ends.remove(gone)
        self._words.remove(gone)
        return gone

    def purge(self) -> None:
        """Overwrite the words that removed records left in memory."""
        self._words.purge()

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Floats]:
        """Return content and place of live records, in the order asked.

        Raises:
            StoreError: an id is not live.
        """
        if missing := [i for i in ids if i not in self.records]:
            raise StoreError(f"no live record with id {_some(missing)}")
        return self.flat.vectors(ids)

    def tags(self, ids: Sequence[str]) -> Tags:
        """Return the numbers by which the engine knows live records, in the order asked."""
        return self.flat.tags(ids)

    def lay(self, ids: Sequence[str], path: Path, starts: Ints) -> None:
        """Read the content of live records from a file from now on, at the bytes ``starts``."""
        self.flat.lay(ids, path, starts)

    def scan(self, where: Filter | None = None) -> Iterator[Record]:
        """Iterate over the records that are live now and match a filter."""
        matches = compile_filter(where)
        if where is None:
            return iter(list(self.records.values()))
        return filter(matches, [self.records[i] for i in self._candidates(where)])

    def count(self, where: Filter | None = None) -> int:
        """Count the live records that match a filter."""
        return len(self) if where is None else sum(1 for _ in self.scan(where))

    def _candidates(self, where: Filter) -> Iterable[str]:
        """Return ids among which every match lies: the smallest group an index offers."""
        best: list[str] | None = None
        if (pinned := required(where, "id")) is not None:
            best = [i for i in sorted(pinned) if i in self.records]
        for name, groups in self._by.items():
            if (pinned := required(where, name)) is not None:
                found = [i for value in sorted(pinned) for i in groups.get(value, ())]
                if best is None or len(found) < len(best):
                    best = found
        return list(self.records) if best is None else dict.fromkeys(best)

    def values(self, name: str) -> dict[str, int]:
        """Count the live records by value of ``subject``, ``topic``, ``mentions`` or so."""
        return {value: len(group) for value, group in self._by[name].items()}

    def has(self, name: str, value: str) -> bool:
        """Tell whether a live record has this ``subject``, ``topic`` or so."""
        return value in self._by[name]

    def search(self, query: Query) -> list[tuple[str, float]]:
        """Answer a query; see :meth:`forgetnet.store.Store.search`."""
        vector = query_vector(query, self.flat.dim)
        only = None
        if query.where is not None:
            only = [record.id for record in self.scan(query.where)]
        without = [*query.without, *self._ends.by(query.at)]
        return self.flat.search(
            vector,
            query.k,
            only=only,
            without=without,
            cone=query.cone,
            near=query.near,
            recall_target=query.recall_target,
        )

    def words(self, query: TextQuery) -> list[tuple[str, float]]:
        """Answer a search by words; see :meth:`forgetnet.store.Store.words`."""
        only = None if query.where is None else {record.id for record in self.scan(query.where)}
        if query.cone is not None:
            inside = self.cone(query.cone)
            only = inside if only is None else only & inside
        expired = frozenset(self._ends.by(query.at))
        return self._words.search(
            query.text, query.k, only=only, without=expired, absent=query.without
        )

    @property
    def worded(self) -> bool:
        """Tell whether a search by words has been made, so that an index of words stands."""
        return self._words.stands

    def cone(self, cone: Cone) -> set[str]:
        """Return the ids of live records whose place lies in the half-space."""
        return self.flat.cone(cone)

    def digest(self) -> str:
        """Hash the live set in the order of id hashes."""
        total = hashlib.sha256()
        ids = sorted(self.records, key=id_hash)
        for start in range(0, len(ids), 4096):
            part = ids[start : start + 4096]
            content, place = self.flat.vectors(part)
            for i, c, p in zip(part, content, place, strict=True):
                total.update(canonical_bytes(self.records[i], c.tobytes(), p.tobytes()))
        return total.hexdigest()


class _Ends:
    """When records expire, in order: those that have are found without a look at the others."""

    def __init__(self) -> None:
        self._order: list[tuple[datetime, str]] = []

    def add(self, records: Iterable[Record]) -> None:
        ends = [(r.expires_at, r.id) for r in records if r.expires_at is not None]
        if len(ends) > _FEW:
            self._order = sorted(self._order + ends)
            return
        for end in ends:
            insort(self._order, end)

    def remove(self, records: Iterable[Record]) -> None:
        """Take records out, all of which are here if they expire."""
        ends = [(r.expires_at, r.id) for r in records if r.expires_at is not None]
        if len(ends) > _FEW:
            gone = set(ends)
            self._order = [end for end in self._order if end not in gone]
            return
        for end in ends:
            del self._order[bisect_left(self._order, end)]

    def by(self, at: datetime | None) -> list[str]:
        """Return the ids of what has expired by a moment; of nothing if there is none."""
        if at is None or not self._order or self._order[0][0] > at:
            return []
        return [i for _, i in self._order[: bisect_right(self._order, at, key=lambda end: end[0])]]


def _entries(record: Record) -> Iterator[tuple[str, str]]:
    if record.subject is not None:
        yield "subject", record.subject
    if record.topic is not None:
        yield "topic", record.topic
    for value in record.mentions:
        yield "mentions", value
    for value in record.derived_from:
        yield "derived_from", value
