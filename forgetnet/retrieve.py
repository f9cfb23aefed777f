"""Asking a store: scopes of a search, and hits made of its answers.

Knows nothing of encoders; a query comes as a vector. Each question to a store may see a later
state than the one before, where another process writes; what they say together is checked here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from forgetnet.errors import InvalidScope, StoreError
from forgetnet.filters import Filter, compile_filter, under
from forgetnet.geometry import codes
from forgetnet.given import number_of, text_of
from forgetnet.record import Hit, Record, split_topic
from forgetnet.store import Cone, Floats, Near, Query, Store

__all__ = ["cone_of", "find", "narrow", "near_duplicates", "near_of", "spread", "with_vector"]

_TRIES = 4
_COMPARED = 64


def narrow(where: Filter | None, subject: str | None) -> Filter | None:
    """Join a filter and a subject."""
    if subject is None:
        return where
    if not text_of(subject, "subject=", InvalidScope):
        raise InvalidScope("subject= is empty; leave it out to search everybody's records")
    owned = {"subject": subject}
    return owned if where is None else {"$and": [owned, where]}


def cone_of(topic: str, salt: bytes) -> Cone:
    """Return the half-space of places under a topic, with the topic's own place.

    Raises:
        InvalidRecord: the topic isn't a path.
        InvalidScope: it isn't a string.
    """
    path = split_topic(text_of(topic, "a topic", InvalidScope))
    query, threshold = codes.cone(path, salt)
    return Cone(np.asarray(query, np.float64), float(threshold), codes.place(path, salt))


def near_of(topic: str, weight: float, salt: bytes) -> Near:
    """Return the pull towards a topic: hyperbolic distance between places, times ``weight``.

    Raises:
        InvalidRecord: the topic isn't a path.
        InvalidScope: it isn't a string, or the weight is negative or not finite.
    """
    weight = number_of(weight, "weight", InvalidScope)
    place = codes.place(split_topic(text_of(topic, "a topic", InvalidScope)), salt)
    return Near(lambda places: codes.place_distance(place, places), weight)


def _is_under(topic: str | None, path: str) -> bool:
    return topic is not None and (topic == path or topic.startswith(path + "/"))


def find(store: Store, query: Query, topic: str | None = None) -> list[Hit]:
    """Return the hits of a query; with a topic, those that its cone and its path both take in.

    Beside a writer, a record may go or change between the search and the reading of its fields.
    Then the search is made anew, up to four times in all; no hit ever fails the filter, is expired
    at ``query.at``, or lies outside the topic. A hit whose text was changed in that moment and
    that still matches comes with its new text and the distance of the old.
    """
    asked = query
    for _ in range(_TRIES):
        found = store.search(asked)
        records = store.get([i for i, _ in found])
        kept = _standing(found, records, asked, topic)
        if len(kept) == len(found):
            break
        if topic is not None and asked is query:
            # The cone took in a neighbour by an accident of its geometry: the path decides.
            asked = replace(query, cone=None, where=_and(under(topic), query.where))
    return [
        Hit(i, distance, (r := records[i]).text, r.subject, r.topic, r.metadata)
        for i, distance in kept
    ]


def _and(first: Filter, second: Filter | None) -> Filter:
    return first if second is None else {"$and": [second, first]}


def _standing(
    found: list[tuple[str, float]], records: Mapping[str, Record], query: Query, topic: str | None
) -> list[tuple[str, float]]:
    """Keep the answers whose records, as they were read, are what the query asks for."""
    matches = None if query.where is None else compile_filter(query.where)
    kept = []
    for answer in found:
        record = records.get(answer[0])
        if record is None or (topic is not None and not _is_under(record.topic, topic)):
            continue
        gone = query.at is not None and record.expires_at and record.expires_at <= query.at
        if not gone and (matches is None or matches(record)):
            kept.append(answer)
    return kept


def with_vector(store: Store, id: str) -> Record | None:
    """Return a record with its embedding, both of one moment; None if it isn't live, or goes.

    Raises:
        StoreError: the store can't be read, or the record changes faster than it can be read.
    """
    for _ in range(_TRIES):
        record = store.get([id]).get(id)
        if record is None:
            return None
        try:
            content, _ = store.vectors([id])
        except StoreError:
            if id in store.get([id]):
                raise
            return None
        if store.get([id]).get(id) == record:
            return replace(record, vector=content[0])
    raise StoreError(f"the record {id[:80]!r} is being changed again and again; ask later")


def spread(ids: Sequence[str]) -> Sequence[str]:
    """Return at most 64 of some ids, spread evenly: as many as are compared for near-duplicates."""
    return ids[:: -(-len(ids) // _COMPARED) or 1]


def near_duplicates(
    store: Store, vectors: Floats, gone: Collection[str], *, cosine: float = 0.95, k: int = 10
) -> tuple[tuple[str, ...], int]:
    """Find records that say nearly the same as some that go: what is left of these afterwards.

    Args:
        store: holds the records that stay, and perhaps the others still.
        vectors: (n, d) content of those that go.
        gone: ids of all that go.
        cosine: from which on two contents count as nearly the same.
        k: neighbours of each that are told at most.

    Returns:
        The ids, the nearest first, and how many of ``vectors`` could be compared: among very many
        that go and are alike, those that stay aren't found.
    """
    best: dict[str, float] = {}
    compared = 0
    distinct, times = np.unique(vectors, axis=0, return_counts=True)
    for vector, alike in zip(distinct, times.tolist(), strict=True):
        for wanted in (k, 8 * k, 64 * k):
            found = [(i, d) for i, d in store.search(Query(vector, wanted)) if 1.0 - d >= cosine]
            others = [(i, distance) for i, distance in found if i not in gone][:k]
            if len(others) == k or len(found) < wanted:
                compared += alike
                break
        for i, distance in others:
            best[i] = min(distance, best.get(i, distance))
    return tuple(sorted(best, key=lambda i: (best[i], i))), compared
