"""Margins: by how much a record lies nearer to what is meant than to what is not.

A pure function of vectors in whole numbers, so equal whatever stands beside. Knows nothing of
stores, topics and words.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forgetnet.linking.nearest import UNIT, Whole, blocks

__all__ = ["Field", "K", "margins", "of_scores"]

K = 5
"""How many of the nearest on each side count, as many as vote in linking."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Field:
    """What margins are measured against.

    Attributes:
        codes: (m, d) exemplars of both sides, of :func:`forgetnet.linking.nearest.whole`.
        inside: (m,) which of them are what is meant; at least one.
        outside: (m,) which of them are something else.
        weight: of the outside, from 0 to 1.
    """

    codes: Whole = field(repr=False)
    inside: Mask = field(repr=False)
    outside: Mask = field(repr=False)
    weight: float = 1.0


def margins(vectors: Floats, against: Field, own: Ints | None = None) -> Doubles:
    """Return the mean cosine of each of n vectors to the K nearest inside, less that outside.

    Where nothing lies outside, the cosine inside alone. A vector that is an exemplar itself is
    compared with the others, so that its margin is what it had if nobody had said what it is.

    Args:
        vectors: (n, d) unit vectors.
        against: the exemplars.
        own: (n,) which exemplar each vector is, -1 for none; None if none is any.

    Returns:
        (n,) from -2 to 2; ``-inf`` for the only exemplar inside, with nothing to compare it with.
    """
    found = np.empty(len(vectors), np.float64)
    for rows, scores in blocks(vectors, against.codes):
        mine = None if own is None else own[rows]
        found[rows] = of_scores(scores, against, mine)
    return found


def of_scores(scores: Whole, against: Field, own: Ints | None = None) -> Doubles:
    """Return :func:`margins` from (n, m) scores to the exemplars, which are used up."""
    if own is not None:
        themselves = np.flatnonzero(own >= 0)
        scores[themselves, own[themselves]] = -np.inf
    inside, outside = (
        _best_mean(scores, np.flatnonzero(side)) for side in (against.inside, against.outside)
    )
    found: Doubles = inside - against.weight * np.where(np.isfinite(outside), outside, 0.0)
    return found


def _best_mean(scores: Whole, columns: Ints) -> Doubles:
    """Return the mean of the K largest finite scores of each row, as cosines; -inf if none is."""
    k = min(K, len(columns))
    if not k:
        return np.full(len(scores), -np.inf)
    part = np.take(scores, columns, axis=1)  # rows stay together, unlike by an index
    across = np.arange(len(part))
    best = np.empty((len(part), k), np.float64)
    for i in range(k):  # several times as quick as a partition, for so few
        at = part.argmax(axis=1)
        best[:, i] = part[across, at]
        part[across, at] = -np.inf
    finite = np.isfinite(best)
    count = finite.sum(axis=1)
    total = np.where(finite, best, 0.0).sum(axis=1)  # whole numbers: exact in any order
    means: Doubles = np.where(count > 0, total / np.maximum(count, 1) * UNIT, -np.inf)
    return means
