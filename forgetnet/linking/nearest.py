"""The nearest of some vectors, by a cosine in whole numbers that no company can change.

A unit vector is rounded once to steps of 2^-11. The product of two such numbers has 22 bits, and by
Cauchy and Schwarz no partial sum of an inner product of unit vectors passes 2^22 by more than a
few per cent, so it stays below 2^24, where float32 holds every whole number. A float32 matrix
product of them is therefore exact, in any order of summation, by any BLAS, with any threads and
whatever rows stand beside; equal scores are equal, and go by position. A cosine moves by about
2e-4 (one standard deviation), and 1e-3 was the most that was seen. Knows nothing of topics.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.given import whole_of

__all__ = ["UNIT", "Scores", "Whole", "best_sums", "blocks", "cosines_of", "nearest", "whole"]

UNIT = 2.0**-22
"""What one step of a score is, as a cosine."""

_STEPS = np.float32(2**11)
_ROWS = 256  # a block of scores to 1,000 exemplars is 1 MB: it stays in the cache

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.float32]
Scores = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def whole(vectors: Floats) -> Whole:
    """Round (n, d) unit vectors to whole numbers of steps of 2^-11, ties to even, as float32."""
    rounded: Whole = np.rint(vectors * _STEPS)
    return rounded


def cosines_of(scores: npt.NDArray[np.number]) -> Doubles:
    """Return scores as cosines; exact, since a step is a power of two."""
    return scores.astype(np.float64) * UNIT


def blocks(vectors: Floats, codes: Whole) -> Iterator[tuple[slice, Whole]]:
    """Iterate over (n, d) vectors by a few: which rows, and their (b, m) scores, for one turn.

    Args:
        vectors: (n, d) unit vectors.
        codes: (m, d) of :func:`whole`.
    """
    across = np.ascontiguousarray(codes.T)
    size = min(_ROWS, len(vectors))
    rounded, held = (
        np.empty((size, len(across)), np.float32),
        np.empty((size, len(codes)), np.float32),
    )
    for start in range(0, len(vectors), _ROWS):
        some = vectors[start : start + _ROWS]
        left, scores = rounded[: len(some)], held[: len(some)]
        np.rint(np.multiply(some, _STEPS, out=left), out=left)  # as whole() does
        np.matmul(left, across, out=scores)
        yield slice(start, start + len(some)), scores


def nearest(vectors: Floats, codes: Whole, k: int) -> tuple[Slots, Scores]:
    """Return the k best of (m, d) codes for each vector, the best first, equals by position.

    Args:
        vectors: (n, d) unit vectors.
        codes: (m, d) of :func:`whole`.
        k: how many, from 1 to m.

    Raises:
        InvalidRecord: k is no such number.

    Returns:
        (n, k) positions and (n, k) scores, of 2^22 for a cosine of 1.
    """
    if whole_of(k, "k", InvalidRecord) > len(codes):
        raise InvalidRecord(f"k must be at most {len(codes)}, as many as there are, not {k}")
    slots = np.empty((len(vectors), k), np.int64)
    best = np.empty((len(vectors), k), np.int64)
    for rows, scores in blocks(vectors, codes):
        slots[rows], best[rows] = _take(scores, k)
    return slots, best


def _take(scores: Whole, k: int) -> tuple[Slots, Scores]:
    """Return the k largest of each row, equals from the left; the scores are used up."""
    slots = np.empty((len(scores), k), np.int64)
    best = np.empty((len(scores), k), np.int64)
    flat, starts = scores.reshape(-1), np.arange(len(scores)) * scores.shape[1]
    for i in range(k):
        slots[:, i] = at = scores.argmax(axis=1)  # the first of equals
        at += starts
        best[:, i] = flat[at]
        flat[at] = -np.inf
    return slots, best


def best_sums(vectors: Floats, codes: Whole, k: int) -> Scores:
    """Return the sum of the k largest scores of each vector, (n,).

    Args:
        vectors: (n, d) unit vectors.
        codes: (m, d) of :func:`whole`.
        k: how many, at most m.
    """
    sums = np.empty(len(vectors), np.int64)
    for rows, scores in blocks(vectors, codes):
        sums[rows] = _take(scores, k)[1].sum(axis=1)
    return sums
