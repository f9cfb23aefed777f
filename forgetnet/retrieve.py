"""Asking a store: scopes of a search, and hits made of its answers.

Knows nothing of encoders; a query comes as a vector. Each question to a store may see a later
state than the one before, where another process writes; what must be of one moment is asked so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, TypeVar

import numpy as np

from forgetnet.errors import InvalidScope
from forgetnet.filters import Filter, under
from forgetnet.geometry import codes
from forgetnet.given import number_of, text_of
from forgetnet.record import Hit, Record, split_topic
from forgetnet.store import Cone, Floats, Near, Query, Store, TextQuery

__all__ = [
    "cone_of",
    "find",
    "fused",
    "narrow",
    "near_duplicates",
    "near_of",
    "spread",
    "with_vector",
]

_COMPARED = 64
_RRF = 60
_DEPTH = 100


_Asked = TypeVar("_Asked", Query, TextQuery)


class _Found(NamedTuple):
    id: str
    distance: float | None
    score: float | None


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


def find(
    store: Store, query: Query | None, topic: str | None = None, words: TextQuery | None = None
) -> list[Hit]:
    """Return the hits of a query; with a topic, those that its cone and its path both take in.

    Distances, scores and records are of one moment.

    Args:
        store: that is asked.
        query: of meaning; None to go by words alone.
        topic: whose cone the queries name.
        words: of the same scope; None to go by meaning alone.
    """
    with store.still():
        found, records = _ask(store, query, words)
        if topic is not None and not all(_is_under(r.topic, topic) for r in records.values()):
            # The cone took in a neighbour by an accident of its geometry: the path decides.
            query = None if query is None else _by_path(query, topic)
            words = None if words is None else _by_path(words, topic)
            found, records = _ask(store, query, words)
    return [
        Hit(i, distance, (r := records[i]).text, r.subject, r.topic, r.metadata, score)
        for i, distance, score in found
    ]


def _by_path(asked: _Asked, topic: str) -> _Asked:
    where = under(topic) if asked.where is None else {"$and": [asked.where, under(topic)]}
    return replace(asked, cone=None, where=where)


def _ask(
    store: Store, query: Query | None, words: TextQuery | None
) -> tuple[list[_Found], dict[str, Record]]:
    """Return what is found, and all records that had a say in it."""
    if query is not None and words is not None:
        return _ask_both(store, query, words)
    if query is not None:
        found = [_Found(i, distance, None) for i, distance in store.search(query)]
    elif words is not None:
        found = [_Found(i, None, score) for i, score in store.words(words)]
    else:
        found = []
    return found, store.get([one.id for one in found])


def _ask_both(
    store: Store, query: Query, words: TextQuery
) -> tuple[list[_Found], dict[str, Record]]:
    depth = max(4 * query.k, _DEPTH)
    near, said = store.search(replace(query, k=depth)), store.words(replace(words, k=depth))
    best = fused([i for i, _ in near], [i for i, _ in said])[: query.k]
    distances = dict(near)
    if far := [i for i, _ in best if i not in distances]:
        only = replace(query, k=len(far), where={"id": {"$in": far}}, cone=None)
        distances |= dict(store.search(only))
    found = [_Found(i, distances[i], score) for i, score in best]
    return found, store.get([i for i, _ in (*near, *said)])


def fused(*rankings: Sequence[str]) -> list[tuple[str, float]]:
    """Fuse rankings into one: ids and scores, the best first, ties by id.

    Reciprocal rank fusion: each ranking adds ``1 / (60 + rank)`` for the ids that it has, the rank
    counted from 1 (Cormack, Clarke and Buettcher 2009).
    """
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, record_id in enumerate(ranking, 1):
            scores[record_id] = scores.get(record_id, 0.0) + 1.0 / (_RRF + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def with_vector(store: Store, id: str) -> Record | None:
    """Return a record with its embedding, both of one moment; None if it isn't live."""
    with store.still():
        record = store.get([id]).get(id)
        return None if record is None else replace(record, vector=store.vectors([id])[0][0])


def spread(ids: Sequence[str]) -> Sequence[str]:
    """Return at most 64 of some ids, spread evenly: as many as are compared for near-duplicates."""
    return ids[:: -(-len(ids) // _COMPARED) or 1]


def near_duplicates(
    store: Store,
    vectors: Floats,
    gone: Collection[str],
    *,
    cosine: float = 0.95,
    k: int = 10,
    at: datetime | None = None,
) -> tuple[tuple[str, ...], int]:
    """Find records that say nearly the same as some that go: what is left of these afterwards.

    None is missed: every record is looked at, however many there are.

    Args:
        store: holds the records that stay, and perhaps the others still.
        vectors: (n, d) content of those that go.
        gone: ids of all that go.
        cosine: from which on two contents count as nearly the same.
        k: neighbours of each that are told at most.
        at: what has expired by then isn't told.

    Returns:
        The ids, the nearest first, and how many of ``vectors`` could be compared: among very many
        that go and are alike, those that stay aren't found.
    """
    best: dict[str, float] = {}
    compared = 0
    distinct, times = np.unique(vectors, axis=0, return_counts=True)
    for vector, alike in zip(distinct, times.tolist(), strict=True):
        for wanted in (k, 8 * k, 64 * k):
            hits = store.search(Query(vector, wanted, at=at, recall_target=1.0))
            found = [(i, distance) for i, distance in hits if 1.0 - distance >= cosine]
            others = [(i, distance) for i, distance in found if i not in gone][:k]
            if len(others) == k or len(found) < wanted:
                compared += alike
                break
        for i, distance in others:
            best[i] = min(distance, best.get(i, distance))
    return tuple(sorted(best, key=lambda i: (best[i], i))), compared
