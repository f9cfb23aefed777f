"""Asking a store for what is meant by a query: its live records, each with a margin.

Exact, and a function of the live set: whatever came and went before, the answer is the twin's.
Knows nothing of how an answer is edited, or forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord, InvalidScope
from forgetnet.linking import Exemplars
from forgetnet.linking.nearest import whole
from forgetnet.meaning.concept import Concept, Cut, Named, cut, meant
from forgetnet.meaning.margins import Floats, margins
from forgetnet.record import Record
from forgetnet.store import Store

__all__ = ["Asked", "Found", "Seen", "look", "see"]

_CHUNK = 16_384

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """What is asked.

    Attributes:
        vector: (d,) unit vector of the query.
        text: of the query; None for a vector.
        recall: parts per million.
        topics: that it means; None to find out.
        like, unlike: ids of records that are, and aren't, what is meant.
        public: labelled exemplars instead of the store's own; None for those.
    """

    vector: Floats = field(repr=False)
    text: str | None = field(repr=False)
    recall: int
    topics: tuple[str, ...] | None = field(default=None, repr=False)
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    public: Exemplars | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Seen:
    """What of a store may be found.

    Attributes:
        records: by id, in the order of ids.
        restricted, expired: how many may not.
    """

    records: dict[str, Record] = field(repr=False)
    restricted: int
    expired: int


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        ids: of all that was looked at, by margin, the largest first, ties by id.
        margins: theirs.
        sure: ids that are in whatever their margin: filed under the topics, or marked.
        never: ids that aren't: marked as something else.
        concept: what was asked for, as exemplars.
        cut: the threshold.
    """

    ids: tuple[str, ...] = field(repr=False)
    margins: Doubles = field(repr=False)
    sure: frozenset[str] = field(repr=False)
    never: frozenset[str] = field(repr=False)
    concept: Concept = field(repr=False)
    cut: Cut

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """Which of them are proposed."""
        sure = np.array([i in self.sure for i in self.ids], np.bool_)
        never = np.array([i in self.never for i in self.ids], np.bool_)
        inside: npt.NDArray[np.bool_] = ((self.margins >= self.cut.threshold) | sure) & ~never
        return inside


def see(store: Store, hidden: Collection[str], moment: datetime) -> Seen:
    """Return what may be found: what is live, hasn't expired and isn't restricted.

    Raises:
        InvalidScope: nothing is.
    """
    live = [r for r in store.scan() if r.expires_at is None or r.expires_at > moment]
    seen = sorted((r for r in live if r.id not in hidden), key=lambda record: record.id)
    if not seen:
        raise InvalidScope("nothing is stored that could be found, so no scope can be proposed")
    return Seen({r.id: r for r in seen}, len(live) - len(seen), store.count() - len(live))


def look(store: Store, seen: Seen, asked: Asked, named: Named | None) -> Found:
    """Give every record that may be found a margin, and choose the threshold.

    Args:
        store: that has the vectors.
        seen: what may be found.
        asked: what for.
        named: embeds names of topics; None where nothing can.

    Raises:
        InvalidScope: a marked record may not be found, or is marked twice; or there is no such
            topic among the exemplars.
    """
    _check_marked(seen, asked)
    known = asked.public
    if known is None:
        told = {r.id: r.topic for r in seen.records.values() if r.topic is not None}
        known = Exemplars.of(list(told), _vectors(store, list(told), asked), list(told.values()))
    topics = asked.topics
    if topics is None:
        topics = meant(asked.vector, asked.text, known) if len(known) else ()
    concept = _concept(store, asked, known, topics)
    position = {name: i for i, name in enumerate(concept.names)}
    if asked.public is not None:  # names of public exemplars are no ids
        position = {i: at for i, at in position.items() if i in {*asked.like, *asked.unlike}}
    found = []
    for ids, vectors in _chunks(store, list(seen.records)):
        own = np.array([position.get(i, -1) for i in ids], np.int64)
        found.append(margins(vectors, concept.field, own))
    values = np.concatenate(found)
    order = np.lexsort((np.arange(len(values)), -values))
    ids = list(seen.records)
    filed = {i for i, r in seen.records.items() if _is_under(r.topic, topics)}
    return Found(
        tuple(ids[i] for i in order.tolist()),
        values[order],
        frozenset({*filed, *asked.like} - set(asked.unlike)),
        frozenset(asked.unlike),
        concept,
        cut(concept, asked.recall, named),
    )


def _check_marked(seen: Seen, asked: Asked) -> None:
    marked = (*asked.like, *asked.unlike)
    if missing := [i for i in marked if i not in seen.records]:
        shown = ", ".join(repr(i[:80]) for i in missing[:5])
        raise InvalidScope(f"like= and unlike= name records that can't be found ({shown})")
    if both := set(asked.like) & set(asked.unlike):
        raise InvalidScope(f"{min(both)[:80]!r} is in like= and in unlike=; say one of them")


def _concept(store: Store, asked: Asked, known: Exemplars, topics: tuple[str, ...]) -> Concept:
    """Gather the exemplars inside and outside; marks win over labels, and stand at the end."""
    marked = (*sorted(asked.like), *sorted(asked.unlike))
    if asked.public is None:
        known = known.without(set(marked)) if set(marked) & set(known.names) else known
    for topic in topics:
        if not any(_is_under(label, (topic,)) for label in known.above):
            raise InvalidScope(f"no exemplar lies under {topic[:80]!r}; label some records so")
    inside = np.array([_is_under(label, topics) for label in known.topics], np.bool_)
    # What is filed above the topic may belong under it, so it isn't something else.
    above = np.array([any(_is_under(t, (o,)) for t in topics) for o in known.topics], np.bool_)
    likes = np.arange(len(marked)) < len(asked.like)
    codes = [known.codes.reshape(len(known), len(asked.vector))]
    codes += [whole(_vectors(store, marked, asked)), whole(asked.vector[None])]
    return Concept(
        (*known.names, *marked),
        (*known.topics, *(None for _ in marked)),
        np.concatenate(codes),
        np.concatenate([inside, likes]),
        np.concatenate([~inside & ~above, ~likes]),
        topics,
    )


def _is_under(label: str | None, topics: Sequence[str]) -> bool:
    return label is not None and any(label == t or label.startswith(f"{t}/") for t in topics)


def _vectors(store: Store, ids: Sequence[str], asked: Asked) -> Floats:
    """Return (n, d) vectors of records, of none too."""
    if not ids:
        return np.zeros((0, len(asked.vector)), np.float32)
    return store.vectors(ids)[0]


def _chunks(store: Store, ids: Sequence[str]) -> Iterator[tuple[Sequence[str], Floats]]:
    for start in range(0, len(ids), _CHUNK):
        some = ids[start : start + _CHUNK]
        yield some, store.vectors(some)[0]


def public_of(exemplars: object, dim: int) -> Exemplars | None:
    """Return exemplars that fit a memory.

    Raises:
        InvalidScope: they are none, or their vectors have another length.
    """
    if exemplars is None:
        return None
    if not isinstance(exemplars, Exemplars):
        raise InvalidScope(
            "exemplars= takes labelled vectors, as forgetnet.linking.Exemplars.of(names, vectors, "
            f"topics), not {type(exemplars).__name__}"
        )
    if exemplars.codes.ndim != 2 or exemplars.codes.shape[1] != dim or not len(exemplars):
        raise InvalidRecord(f"exemplars= need vectors of {dim} numbers, as this memory has")
    return exemplars
