"""Exemplars: vectors whose topics are known, from which others are linked.

Knows nothing of stores, nor of where a label comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.given import names_of, text_of
from forgetnet.linking.nearest import Scores, Whole, whole
from forgetnet.record import split_topic

__all__ = ["Exemplars", "unit_of", "upward"]

Floats = npt.NDArray[np.float32]
Closure = Callable[[str], Sequence[str]]
"""Maps a topic to itself and every topic above it, in any order."""

_STEPS = 2.0**11
_UNIT = 2e-3  # as stores check it


def unit_of(vectors: object, what: str) -> Floats:
    """Return (n, d) unit vectors; only of such are the sums of whole numbers exact.

    Raises:
        InvalidRecord: they are no rows of numbers, or one hasn't length 1.
    """
    try:
        given = np.asarray(vectors, np.float32)
    except (TypeError, ValueError, OverflowError):
        given = np.zeros(0, np.float32)
    if given.ndim != 2:
        raise InvalidRecord(f"{what} is a row of numbers, one row for each name")
    if not (np.abs(np.einsum("ij,ij->i", given, given) - 1.0) <= _UNIT).all():
        raise InvalidRecord(f"{what} doesn't have length 1; divide it by its norm")
    return given


def upward(topic: str) -> tuple[str, ...]:
    """Return a topic path and every path above it, the top first.

    Raises:
        InvalidRecord: it isn't a topic path.
    """
    names = split_topic(text_of(topic, "a topic", InvalidRecord))
    return tuple("/".join(names[: depth + 1]) for depth in range(len(names)))


@dataclass(frozen=True, eq=False)
class Exemplars:
    """Labelled vectors in canonical order; make them with :meth:`of`.

    Attributes:
        names: (m,) ids of the records, or topics for centroids and concepts; ascending.
        topics: what each is labelled with.
        codes: (m, d) vectors in whole numbers.
        concepts: every topic that is voted for, ascending; closed upward.
        above: for each topic of ``topics``, positions in ``concepts`` of it and all above it.
    """

    names: tuple[str, ...]
    topics: tuple[str, ...] = field(repr=False)
    codes: Whole = field(repr=False)
    concepts: tuple[str, ...] = field(repr=False)
    above: dict[str, npt.NDArray[np.int64]] = field(repr=False)

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        vectors: Floats,
        topics: Sequence[str],
        closure: Closure = upward,
    ) -> Exemplars:
        """Put labelled vectors in the order of their names; the answer doesn't depend on theirs.

        Args:
            names: m distinct names, such as ids.
            vectors: (m, d) unit vectors.
            topics: a topic path for each.
            closure: says what lies above a topic; by default, its path does.

        Raises:
            InvalidRecord: a name comes twice, the lengths differ, a vector hasn't length 1, or a
                label is no topic path.
        """
        names = names_of(names, "names", InvalidRecord, ordered=True)
        topics = names_of(topics, "topics", InvalidRecord, ordered=True)
        given = unit_of(vectors, "an exemplar's vector")
        if not len(names) == len(given) == len(topics):
            raise InvalidRecord(
                f"{len(names)} exemplars came with {len(given)} vectors and {len(topics)} "
                "topics; give one of each"
            )
        if len(set(names)) < len(names):
            raise InvalidRecord("an exemplar's name comes twice; give each name once")
        order = sorted(range(len(names)), key=names.__getitem__)
        codes = whole(given)[order]
        return cls._made([names[i] for i in order], [topics[i] for i in order], codes, closure)

    @classmethod
    def _made(
        cls, names: Iterable[str], topics: Sequence[str], codes: Whole, closure: Closure
    ) -> Exemplars:
        found = {topic: set(closure(topic)) for topic in dict.fromkeys(topics)}
        concepts = tuple(sorted(set().union(*found.values())))
        position = {concept: i for i, concept in enumerate(concepts)}
        above = {
            topic: np.array(sorted(position[each] for each in closed), np.int64)
            for topic, closed in found.items()
        }
        return cls(tuple(names), tuple(topics), codes, concepts, above)

    def without(self, gone: Collection[str]) -> Exemplars:
        """Return those whose names are not among ``gone``; the others' vectors are overwritten."""
        kept = np.array([name not in gone for name in self.names], np.bool_)
        left = np.flatnonzero(kept).tolist()
        codes = self.codes[kept]
        self.codes[~kept] = 0.0
        above = {topic: self._names(found) for topic, found in self.above.items()}
        names, topics = [self.names[i] for i in left], [self.topics[i] for i in left]
        return self._made(names, topics, codes, lambda topic: sorted(above[topic]))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def tells_apart(self) -> bool:
        """Whether they have two topics at least; one can't be told from anything."""
        return len(self.above) > 1

    @cached_property
    def ballots(self) -> tuple[Scores, Scores, Scores]:
        """Return for each label where its votes begin, (t + 1,), them, and the label of each, (m,).

        Label i votes for the concepts ``flat[starts[i] : starts[i + 1]]``.
        """
        number = {topic: i for i, topic in enumerate(self.above)}
        sizes = np.array([len(found) for found in self.above.values()], np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        flat = np.concatenate([np.zeros(0, np.int64), *self.above.values()])
        label = np.fromiter(map(number.__getitem__, self.topics), np.int64, len(self))
        return starts, flat, label

    def inside(self, topic: str) -> npt.NDArray[np.bool_]:
        """Tell which of them lie at or under a topic, (m,).

        Raises:
            InvalidRecord: none does.
        """
        under = {label for label, above in self.above.items() if topic in self._names(above)}
        if not under:
            raise InvalidRecord(f"no exemplar lies under {topic[:80]!r}; label some records so")
        return np.fromiter((label in under for label in self.topics), np.bool_, len(self))

    def _names(self, positions: npt.NDArray[np.int64]) -> set[str]:
        return {self.concepts[i] for i in positions.tolist()}

    def sums(self) -> tuple[tuple[str, ...], Scores]:
        """Sum the vectors of each topic in whole numbers: (t,) topics ascending, (t, d) sums.

        Exact: what is added is taken out again bit for bit.
        """
        topics = tuple(sorted(self.above))
        position = {topic: i for i, topic in enumerate(topics)}
        index = np.array([position[topic] for topic in self.topics], np.int64)
        order = np.argsort(index, kind="stable")
        starts = np.searchsorted(index[order], np.arange(len(topics)))
        wide = self.codes[order].astype(np.int64)
        return topics, np.add.reduceat(wide, starts, axis=0) if topics else wide

    def centroids(self) -> Exemplars:
        """Return one exemplar for each topic: the direction of the sum of its vectors.

        A function of the sums alone, so it is that of a memory that never had what was taken out.
        """
        topics, sums = self.sums()
        wide = sums.astype(np.float64)
        length = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
        codes = np.rint(wide * (_STEPS / np.where(length > 0.0, length, 1.0)))
        return Exemplars(topics, topics, codes.astype(np.float32), self.concepts, self.above)
