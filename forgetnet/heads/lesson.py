"""What a step of training looks at: siblings side by side, and all that stands above them.

Knows positions in a hierarchy; knows no vectors and no geometry.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.heads.hierarchy import Hierarchy

__all__ = ["Batch", "Lesson"]

Ints = npt.NDArray[np.int64]


class Batch(NamedTuple):
    """One step's concepts.

    Attributes:
        records: (n,) positions.
        above: (m,) positions of concepts that stand above some of the records.
        inside: (m, n), whether the record stands under the concept.
    """

    records: Ints
    above: Ints
    inside: npt.NDArray[np.bool_]


class Lesson:
    """Draws batches: groups of siblings, and every concept that stands above one of them.

    Siblings are the hardest to tell apart, so they are drawn together.

    Args:
        hierarchy: to learn from.
        taught: positions of the concepts that are looked at as records; all others stay unseen but
            as somebody's ancestor.
        groups: of siblings in a batch.
        siblings: at most so many of a group.

    Raises:
        InvalidRecord: fewer than two concepts that have a parent are taught.
    """

    def __init__(self, hierarchy: Hierarchy, taught: Ints, groups: int, siblings: int) -> None:
        below: dict[int, list[int]] = {}
        for child in np.unique(taught).tolist():
            for parent in hierarchy.parents[child]:
                below.setdefault(parent, []).append(child)
        if len({child for group in below.values() for child in group}) < 2:
            raise InvalidRecord(
                "a hierarchy to learn from has at least two concepts that stand under another"
            )
        self._groups = [np.array(children, np.int64) for _, children in sorted(below.items())]
        self._ancestors = hierarchy.ancestors
        self._row = np.full(len(hierarchy), -1, np.int64)
        self._count, self._siblings = min(groups, len(self._groups)), siblings

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw one."""
        chosen = rng.permutation(len(self._groups))[: self._count]
        drawn = [rng.permutation(self._groups[place])[: self._siblings] for place in chosen]
        records = np.unique(np.concatenate(drawn))
        above = np.unique(np.concatenate([self._ancestors[record] for record in records]))
        inside = np.zeros((len(above), len(records)), np.bool_)
        self._row[above] = np.arange(len(above))
        for column, record in enumerate(records):
            inside[self._row[self._ancestors[record]], column] = True
        return Batch(records, above, inside)
