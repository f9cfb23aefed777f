"""Exact numbers: vectors and sums that can be undone bit for bit.

A float sum remembers the order of its terms and doesn't give back what was taken out of it. Here
everything that is ever summed is an integer, in int64, or in float64 as long as every partial sum
stays below 2^53, where BLAS gives the same bits in any order. A symmetric matrix is kept packed, as
panels of 256 rows of its upper half. Knows nothing of records or models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord

__all__ = [
    "CODE_BITS",
    "EXACT",
    "LIMBS",
    "LIMB_BITS",
    "Codes",
    "add_gram",
    "digest_arrays",
    "fix_weights",
    "from_fixed",
    "gram",
    "join_limbs",
    "packed_size",
    "panels",
    "quantise",
    "split_limbs",
    "to_fixed",
    "unpack",
]

CODE_BITS = 12
"""A component of a unit vector is stored in steps of 2^-12."""
EXACT = 2**53
"""Integers below this are exact in float64."""
LIMBS = 3
"""A fixed-point target is split into so many limbs, ..."""
LIMB_BITS = 21
"""... of so many bits; the highest one has the sign, and 20 bits at most."""
_TARGET_BITS = 20
_TARGET_LIMIT = 2.0**40
_PANEL = 256

Codes = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def quantise(vectors: npt.ArrayLike) -> Codes:
    """Round (n, d) unit vectors to int16 codes in steps of 2^-12, ties to even.

    Raises:
        InvalidRecord: a component isn't finite or is larger than a unit vector's can be.
    """
    wide = np.asarray(vectors, np.float64)
    with np.errstate(invalid="ignore"):
        whole = bool((np.abs(wide) <= 1.0 + 2.0**-CODE_BITS).all())
    if not whole:
        raise InvalidRecord("only finite unit vectors can be quantised; normalise them first")
    return np.rint(wide * 2.0**CODE_BITS).astype(np.int16)


def to_fixed(values: npt.ArrayLike) -> Ints:
    """Round targets to int64 in steps of 2^-20, ties to even.

    Raises:
        InvalidRecord: a value isn't finite, or its magnitude is 2^40 or more.
    """
    wide = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):
        whole = bool((np.abs(wide) < _TARGET_LIMIT).all())
    if not whole:
        raise InvalidRecord(
            "a target must be finite and smaller than 2^40, for its sums are kept in exact "
            "integers; give it in a larger unit"
        )
    return np.rint(wide * 2.0**_TARGET_BITS).astype(np.int64)


def from_fixed(fixed: npt.ArrayLike) -> Floats:
    """Return the values of fixed-point targets, or of their sums."""
    return np.asarray(fixed, np.float64) * 2.0**-_TARGET_BITS


def split_limbs(fixed: Ints) -> Ints:
    """Cut fixed-point numbers of any shape into limbs (3, ...), lowest first.

    y = l0 + l1 2^21 + l2 2^42 with 0 <= l0, l1 < 2^21 and |l2| <= 2^18 for |y| <= 2^60: one split
    of each number, so sums of limbs are a function of what was summed. A product with a 12-bit
    feature stays below 2^33, and 2^20 of these below 2^53.
    """
    mask = (1 << LIMB_BITS) - 1
    return np.stack([fixed & mask, (fixed >> LIMB_BITS) & mask, fixed >> 2 * LIMB_BITS])


def join_limbs(limbs: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    """Return whole numbers of any size, as Python integers, from sums of limbs (3, ...)."""
    wide = limbs.astype(object)
    joined: npt.NDArray[np.object_] = wide[0] + (wide[1] << LIMB_BITS) + (wide[2] << 2 * LIMB_BITS)
    return joined


def gram(left: Floats, right: Floats, bound: int) -> Ints:
    """Return ``left.T @ right`` of integer-valued float64 matrices, exactly, as int64.

    BLAS may add in any order and with any number of threads: no partial sum reaches 2^53.

    Args:
        left: (n, a) whole numbers.
        right: (n, b) whole numbers.
        bound: largest magnitude of a single product.

    Raises:
        ValueError: n products of that size could leave the exact range; give fewer rows at once.
    """
    if len(left) * bound >= EXACT:
        raise ValueError(f"{len(left)} rows at once are too many for exact sums")
    product: Ints = (left.T @ right).astype(np.int64)
    return product


def packed_size(m: int) -> int:
    """Return the length of a packed symmetric (m, m) matrix."""
    return sum(min(_PANEL, m - start) * (m - start) for start in range(0, m, _PANEL))


def panels(packed: Ints, m: int) -> Iterator[tuple[int, Ints]]:
    """Yield (start, view) of a packed (m, m) matrix: rows from ``start``, columns from there on."""
    at = 0
    for start in range(0, m, _PANEL):
        rows, columns = min(_PANEL, m - start), m - start
        yield start, packed[at : at + rows * columns].reshape(rows, columns)
        at += rows * columns


def add_gram(packed: Ints, left: Floats, right: Floats, bound: int, sign: int) -> None:
    """Add ``sign * left.T @ right`` to a packed matrix, in place and exactly.

    The product must be symmetric, as of rows and the same rows weighted; each is (n, m).

    Raises:
        ValueError: n products of size ``bound`` could leave the exact range.
    """
    for start, panel in panels(packed, right.shape[1]):
        product = gram(left[:, start : start + len(panel)], right[:, start:], bound)
        if sign > 0:
            panel += product
        else:
            panel -= product


def unpack(packed: Ints, m: int) -> Floats:
    """Return a packed matrix as (m, m) float64, without what lies below its panels."""
    whole = np.zeros((m, m))
    for start, panel in panels(packed, m):
        whole[start : start + len(panel), start:] = panel
    return whole


def fix_weights(weights: Floats, largest: int) -> tuple[Floats, Floats]:
    """Round weights so that products with whole numbers are exact, whatever stands beside a row.

    Args:
        weights: (m, c) finite numbers.
        largest: the largest magnitude of a whole number that they will be multiplied with.

    Returns:
        (m, c) whole numbers as float64, and (c,) powers of two: ``weights`` is about their product.
        Sums of m products stay below 2^53; at m = 2048 and 12-bit numbers, 30 bits are kept.
    """
    most = (EXACT - 1) // (max(len(weights), 1) * largest)
    top = np.abs(weights).max(axis=0, initial=0.0)
    # top < 2^e, so a weight times 2^(b - e) rounds to at most 2^b, with 2^b <= most
    _, exponent = np.frexp(top)
    scale = np.ldexp(1.0, exponent - (most.bit_length() - 1))
    return np.rint(weights / scale), scale


def digest_arrays(arrays: Mapping[str, npt.NDArray[np.generic]]) -> str:
    """Hash named arrays with their types and shapes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        head = f"{name}\0{array.dtype.str}\0{array.shape}\0".encode()
        total.update(len(head).to_bytes(8, "little") + head)
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()
