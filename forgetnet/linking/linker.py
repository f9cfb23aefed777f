"""The linker: which topics a record belongs under, by the votes of what is nearest to it.

A pure function of vectors, exemplars and settings: the k nearest exemplars vote for their own topic
and every topic above it. Knows nothing of stores, records and what is forgotten.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.given import names_of, number_of, text_of, whole_of
from forgetnet.linking.exemplars import Exemplars, unit_of
from forgetnet.linking.nearest import UNIT, Scores, best_sums, nearest
from forgetnet.record import canonical_json

__all__ = ["Link", "Linker", "Links", "Method"]

Method = Literal["knn", "centroid"]

_K = {"knn": 5, "centroid": 3}
_ROWS = 4_096  # whose votes are counted at once: they stay in the cache
_MOST = 64  # squares of 23-bit differences: 2^46 times 64 stays below 2^53

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


_NONE = np.zeros(0, np.int64)


class Link(NamedTuple):
    """A record under a topic, and how surely.

    ``margin`` is the votes for less the votes against, as a share of all: above 0 to 1.
    """

    id: str
    topic: str
    margin: float


@dataclass(frozen=True)
class Links:
    """Which records lie under which topics: closed upward, in the order of ids, then of topics.

    Attributes:
        ids: records that were to be linked, linked or not; ascending.
        concepts: topics that were voted for; ascending.
        rows: (l,) positions in ``ids``, one for each link.
        columns: (l,) positions in ``concepts``.
        margins: (l,) as in :class:`Link`.
    """

    ids: tuple[str, ...] = field(repr=False)
    concepts: tuple[str, ...] = field(repr=False)
    rows: Ints = field(repr=False)
    columns: Ints = field(repr=False)
    margins: Doubles = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Link]:
        ids, concepts = self.ids, self.concepts
        told = zip(self.rows.tolist(), self.columns.tolist(), self.margins.tolist(), strict=True)
        return (Link(ids[row], concepts[column], margin) for row, column, margin in told)

    @property
    def linked(self) -> tuple[str, ...]:
        """Ids of the records with a link, ascending."""
        return tuple(self.ids[row] for row in np.unique(self.rows).tolist())

    def under(self, topic: str) -> Links:
        """Return the links to one topic: every record linked at or under it has exactly one."""
        at = _position(self.concepts, text_of(topic, "topic", InvalidRecord))
        return self._only(self.columns == at)

    def of(self, id: str) -> tuple[Link, ...]:
        """Return the links of one record, in the order of topics; none for an unknown one."""
        at = _position(self.ids, text_of(id, "id", InvalidRecord))
        return tuple(self._only(self.rows == at))

    def _only(self, kept: npt.NDArray[np.bool_]) -> Links:
        arrays = (self.rows[kept], self.columns[kept], self.margins[kept])
        return Links(self.ids, self.concepts, *arrays)

    def digest(self) -> str:
        """Hash ids, topics and margins: equal for equal links."""
        told = [list(self.ids), [[link.id, link.topic] for link in self]]
        total = hashlib.sha256(canonical_json(told).encode())
        total.update(self.margins.tobytes())
        return total.hexdigest()


def _position(names: Sequence[str], name: str) -> int:
    """Return where a name lies among ascending ones; -1 if it doesn't."""
    at = bisect_left(names, name)
    return at if at < len(names) and names[at] == name else -1


@dataclass(frozen=True)
class Linker:
    """Link vectors to the topics that most of their nearest exemplars lie under.

    Of the k nearest by cosine, each votes for its topic and all above it, with the square of its
    lead over the next nearest one, which has no vote (Dudani, "The distance-weighted k-nearest-
    neighbor rule", 1976, has the lead itself). A record is linked to what has more votes for it
    than against it: in a tree that is one path from the top, and it ends where the votes part.

    Attributes:
        k: how many vote; fewer where there are no more. None for 5, or 3 centroids.
        min_margin: a link needs a larger margin, from 0 on, below 1.
        method: ``knn`` has every exemplar vote; ``centroid`` one for each topic, the mean of its
            exemplars, kept as exact integer sums: quicker where there are many.

    Raises:
        InvalidRecord: a setting that it doesn't have.
    """

    k: int | None = None
    min_margin: float = 0.0
    method: Method = "knn"

    def __post_init__(self) -> None:
        if self.k is not None and whole_of(self.k, "k", InvalidRecord) > _MOST:
            raise InvalidRecord(f"k must be at most {_MOST}, not {self.k}")
        if number_of(self.min_margin, "min_margin", InvalidRecord) >= 1.0:
            raise InvalidRecord("min_margin= must be below 1, which no margin exceeds")
        if text_of(self.method, "method", InvalidRecord) not in get_args(Method):
            raise InvalidRecord("method= is 'knn' or 'centroid'")

    @property
    def voters(self) -> int:
        """How many vote, where there are enough."""
        return _K[self.method] if self.k is None else self.k

    def link(self, ids: Sequence[str], vectors: Floats, exemplars: Exemplars) -> Links:
        """Link n vectors; one that is told from nothing, as with a single topic, has no link.

        Args:
            ids: n distinct ids.
            vectors: (n, d) unit vectors.
            exemplars: what is known.

        Raises:
            InvalidRecord: an id comes twice, the lengths differ, or a vector hasn't length 1.
        """
        ids = names_of(ids, "ids", InvalidRecord, ordered=True)
        vectors = unit_of(vectors, "a vector to be linked")
        if not len(set(ids)) == len(ids) == len(vectors):
            raise InvalidRecord(
                f"{len(ids)} ids, {len(set(ids))} of them distinct, came with {len(vectors)} "
                "vectors; give one of each"
            )
        _check_exemplars(exemplars)
        if any(a > b for a, b in pairwise(ids)):
            order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
            ids, vectors = tuple(ids[i] for i in order.tolist()), vectors[order]
        known = self.known(exemplars)
        return self.decide(ids, known, *self.near(vectors, known))

    def known(self, exemplars: Exemplars) -> Exemplars:
        """Return who may vote: the exemplars, or their centroids."""
        return exemplars.centroids() if self.method == "centroid" else exemplars

    def near(self, vectors: Floats, known: Exemplars) -> tuple[Ints, Scores]:
        """Return who votes on each of n vectors, and the next nearest: (n, k + 1) and scores.

        Raises:
            InvalidRecord: vectors and exemplars have different lengths.
        """
        wanted = min(self.voters + 1, len(known)) if known.tells_apart else 0
        if not wanted:
            return np.zeros((len(vectors), 0), np.int64), np.zeros((len(vectors), 0), np.int64)
        _check_lengths(vectors, known.codes)
        return nearest(vectors, known.codes, wanted)

    def decide(self, ids: tuple[str, ...], known: Exemplars, slots: Ints, scores: Scores) -> Links:
        """Count the votes of :meth:`near`; ids ascend."""
        rows, columns, margins = [_NONE], [_NONE], [np.zeros(0)]
        for at in range(0, len(ids) if slots.shape[1] else 0, _ROWS):
            some = slice(at, at + _ROWS)
            row, column, margin = _majorities(known, slots[some], _weights(scores[some]))
            kept = margin > self.min_margin
            rows.append(row[kept] + at)
            columns.append(column[kept])
            margins.append(margin[kept])
        arrays = (np.concatenate(rows), np.concatenate(columns), np.concatenate(margins))
        return Links(ids, known.concepts, *arrays)

    def margins(self, vectors: Floats, exemplars: Exemplars, topic: str) -> Doubles:
        """Return how much nearer each of n vectors lies to a topic than to all else, (n,).

        Its mean cosine to the k nearest exemplars at or under the topic, less that to the k nearest
        of the others: from -2 to 2, a ranking of every record, where votes know the few alone.

        Raises:
            InvalidRecord: no exemplar lies under the topic, or every one does; or a vector hasn't
                length 1.
        """
        _check_exemplars(exemplars)
        vectors = unit_of(vectors, "a vector to be ranked")
        inside = exemplars.inside(text_of(topic, "topic", InvalidRecord))
        return self.contrast(vectors, exemplars.codes[inside], exemplars.codes[~inside])

    def contrast(self, vectors: Floats, inside: Floats, outside: Floats) -> Doubles:
        """Return :meth:`margins` for exemplars in whole numbers that lie inside, and others.

        Args:
            vectors: (n, d) unit vectors.
            inside: (a, d) of :func:`forgetnet.linking.nearest.whole`; at least one.
            outside: (b, d), likewise.

        Raises:
            InvalidRecord: there is none inside, or none outside.
        """
        if not len(inside) or not len(outside):
            raise InvalidRecord(
                "a topic is told apart by exemplars under it and others that are not; label some "
                "records of both kinds"
            )
        means = []
        for codes in (inside, outside):
            _check_lengths(vectors, codes)
            k = min(self.voters, len(codes))
            means.append(best_sums(vectors, codes, k) * UNIT / k)
        margins: Doubles = means[0] - means[1]
        return margins


def _check_exemplars(exemplars: object) -> None:
    if not isinstance(exemplars, Exemplars):
        raise InvalidRecord(
            f"exemplars must be Exemplars, not {type(exemplars).__name__}; make some with "
            "Exemplars.of"
        )


def _check_lengths(vectors: Floats, codes: Floats) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != codes.shape[1]:
        raise InvalidRecord(
            f"vectors of the shape {vectors.shape} can't be linked by exemplars of "
            f"{codes.shape[1]} numbers"
        )


def _weights(scores: Scores) -> Ints:
    """Return the votes of all but the last of each row, (n, k); exact, below 2^52."""
    lead = scores[:, :-1] - scores[:, -1:]
    votes = lead * lead
    votes[votes.sum(axis=1) == 0] = 1  # all are equally near
    return votes


def _majorities(known: Exemplars, slots: Ints, weights: Ints) -> tuple[Ints, Ints, Doubles]:
    """Return what has more votes for it than against it: rows, concepts, margins.

    In the order of rows, then of concepts; each (row, concept) once.
    """
    starts, flat, label = known.ballots
    voted = label[slots[:, :-1]].ravel()
    lengths = starts[voted + 1] - starts[voted]
    ends = np.cumsum(lengths)
    # position within each ballot, and so in the list of what its label stands for
    within = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    columns = flat[np.repeat(starts[voted], lengths) + within]
    rows = np.repeat(np.arange(len(voted)) // weights.shape[1], lengths)
    keys = rows * len(known.concepts) + columns
    order = np.argsort(keys)
    keys = keys[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    votes = np.add.reduceat(np.repeat(weights.ravel(), lengths)[order], first)
    first = order[first]
    row = rows[first]
    all_of = weights.sum(axis=1)[row]
    lead = 2 * votes - all_of
    most = lead > 0
    return row[most], columns[first][most], lead[most] / all_of[most]
