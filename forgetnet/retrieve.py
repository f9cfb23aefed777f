"""Asking a store: scopes of a search, and hits made of its answers.

Knows nothing of encoders; a query comes as a vector.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forgetnet.errors import InvalidScope
from forgetnet.filters import Filter, under
from forgetnet.geometry import codes
from forgetnet.record import Hit, split_topic
from forgetnet.store import Cone, Near, Query, Store

__all__ = ["cone_of", "find", "narrow", "near_of"]


def narrow(where: Filter | None, subject: str | None) -> Filter | None:
    """Join a filter and a subject."""
    if subject is None:
        return where
    if not subject:
        raise InvalidScope("subject= is empty; leave it out to search everybody's records")
    owned = {"subject": subject}
    return owned if where is None else {"$and": [owned, where]}


def cone_of(topic: str, salt: bytes) -> Cone:
    """Return the half-space of places under a topic, with the topic's own place.

    Raises:
        InvalidRecord: the topic isn't a path.
    """
    path = split_topic(topic)
    query, threshold = codes.cone(path, salt)
    return Cone(np.asarray(query, np.float64), float(threshold), codes.place(path, salt))


def near_of(topic: str, weight: float, salt: bytes) -> Near:
    """Return the pull towards a topic: hyperbolic distance between places, times ``weight``.

    Raises:
        InvalidScope: the weight is negative or not finite.
    """
    if not 0.0 <= weight < float("inf"):
        raise InvalidScope(f"weight must be a finite number of at least 0, not {weight}")
    place = codes.place(split_topic(topic), salt)
    return Near(lambda places: codes.place_distance(place, places), weight)


def _is_under(topic: str | None, path: str) -> bool:
    return topic is not None and (topic == path or topic.startswith(path + "/"))


def find(store: Store, query: Query, topic: str | None = None) -> list[Hit]:
    """Return the hits of a query; with a topic, those that its cone and its path both take in."""
    found = store.search(query)
    records = store.get([i for i, _ in found])
    if topic is not None and not all(_is_under(r.topic, topic) for r in records.values()):
        # The cone took in a neighbour by an accident of its geometry: the path decides.
        path = under(topic)
        where = path if query.where is None else {"$and": [query.where, path]}
        found = store.search(replace(query, cone=None, where=where))
        records = store.get([i for i, _ in found])
    return [
        Hit(i, distance, (r := records[i]).text, r.subject, r.topic, r.metadata)
        for i, distance in found
    ]
