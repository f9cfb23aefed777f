"""A public hierarchy as a head learns from it: names, sayings, and who stands under whom.

Plain values; knows nothing of files, of encoders or of vectors.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord
from forgetnet.given import names_of
from forgetnet.record import canonical_json
from forgetnet.taxonomy import Taxonomy

__all__ = ["Hierarchy"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Concepts and their parents; a concept may have several, and none is its own ancestor.

    Attributes:
        names: n texts, what each concept is called.
        glosses: n texts that say what each is; where there is none, its name.
        parents: for each concept the positions of its parents.

    Raises:
        InvalidRecord: the three differ in length, a name is empty, a parent isn't there, or the
            parents go round in a circle.
    """

    names: tuple[str, ...] = field(repr=False)
    glosses: tuple[str, ...] = field(repr=False)
    parents: tuple[tuple[int, ...], ...] = field(repr=False)

    def __post_init__(self) -> None:
        n = len(self.names)
        if len(self.glosses) != n or len(self.parents) != n:
            raise InvalidRecord(
                f"{n} names came with {len(self.glosses)} glosses and {len(self.parents)} lists of "
                "parents; give one of each for every concept"
            )
        if not all(isinstance(told, str) for told in (*self.names, *self.glosses)):
            raise InvalidRecord("names and glosses are strings; write the others out")
        if empty := [i for i, name in enumerate(self.names) if not name.strip()]:
            raise InvalidRecord(f"concept {empty[0]} has an empty name; name it or leave it out")
        if any(not 0 <= parent < n for above in self.parents for parent in above):
            raise InvalidRecord(f"a parent is none of the {n} concepts; add it, or leave it out")
        assert_acyclic(self.parents)

    @classmethod
    def of(
        cls, names: Mapping[str, str], edges: Iterable[tuple[str, str]], glosses: Mapping[str, str]
    ) -> Hierarchy:
        """Make one of names by id, (child, parent) pairs of ids, and glosses by id.

        The order is that of the ids, so equal sets make equal hierarchies.

        Raises:
            InvalidRecord: as the class, or an edge names an id that isn't there.
        """
        check_kind("names", names, Mapping, '{"1": "dog"}')
        check_kind("glosses", glosses, Mapping, '{"1": "what barks"}')
        ids = sorted(names_of(names.keys(), "names", InvalidRecord))
        at = {id: place for place, id in enumerate(ids)}
        above: list[set[int]] = [set() for _ in ids]
        for child, parent in edges:
            if child not in at or parent not in at:
                raise InvalidRecord("an edge names a concept that isn't there; add it to the names")
            above[at[child]].add(at[parent])
        told = tuple(glosses.get(id) or names[id] for id in ids)
        parents = tuple(tuple(sorted(each)) for each in above)
        return cls(tuple(names[id] for id in ids), told, parents)

    @classmethod
    def from_taxonomy(cls, taxonomy: Taxonomy) -> Hierarchy:
        """Make one of a taxonomy's concepts, in their order.

        Raises:
            InvalidRecord: a name is empty.
        """
        concepts = taxonomy.concepts
        told = tuple(concept.gloss or concept.name for concept in concepts)
        return cls(tuple(c.name for c in concepts), told, tuple(c.parents for c in concepts))

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def ancestors(self) -> tuple[Ints, ...]:
        """For each concept the positions of all that stand above it, ascending."""
        found: list[frozenset[int]] = [frozenset()] * len(self)
        for place in _downwards(self.parents):
            above = self.parents[place]
            found[place] = frozenset(above).union(*(found[parent] for parent in above))
        return tuple(np.array(sorted(each), np.int64) for each in found)

    @functools.cached_property
    def inner(self) -> Ints:
        """Positions of the concepts that have something under them, ascending."""
        return np.array(sorted({p for above in self.parents for p in above}), np.int64)

    @functools.cached_property
    def leaves(self) -> Ints:
        """Positions of the others, ascending."""
        return np.setdiff1d(np.arange(len(self)), self.inner)

    def pairs(self) -> Ints:
        """Return all (ancestor, descendant) pairs, (m, 2)."""
        rows = [(int(a), x) for x, above in enumerate(self.ancestors) for a in above]
        return np.array(rows, np.int64).reshape(-1, 2)

    def digest(self) -> str:
        """Hash what a head learns from; equal for equal hierarchies."""
        body = [list(self.names), list(self.glosses), [list(p) for p in self.parents]]
        return hashlib.sha256(canonical_json(body).encode()).hexdigest()


def assert_acyclic(parents: Sequence[Sequence[int]]) -> None:
    """Refuse parents that go round.

    Raises:
        InvalidRecord: with how many concepts stand in a circle, or under one.
    """
    left = len(parents) - len(_downwards(parents))
    if left:
        raise InvalidRecord(
            f"{left} concepts stand in a circle of parents, or under one; take out the edge that "
            "closes it"
        )


def _downwards(parents: Sequence[Sequence[int]]) -> list[int]:
    """Return positions, parents first; what stands in a circle, or under one, is left out."""
    waits = [len(set(above)) for above in parents]
    below: list[list[int]] = [[] for _ in parents]
    for child, above in enumerate(parents):
        for parent in set(above):
            below[parent].append(child)
    ready = [place for place, count in enumerate(waits) if not count]
    for place in ready:  # grows as it goes
        for child in below[place]:
            waits[child] -= 1
            if not waits[child]:
                ready.append(child)
    return ready
