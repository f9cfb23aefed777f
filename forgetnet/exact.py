"""Exact numbers: vectors and sums that can be undone bit for bit.

A float sum remembers the order of its terms and doesn't give back what was taken out of it. Here
everything that is ever summed is an integer, in int64, or in float64 as long as every partial sum
stays below 2^53, where BLAS gives the same bits in any order. Knows nothing of records or models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord

__all__ = [
    "CODE_BITS",
    "EXACT",
    "Codes",
    "digest_arrays",
    "from_fixed",
    "gram",
    "quantise",
    "to_fixed",
]

CODE_BITS = 12
"""A component of a unit vector is stored in steps of 2^-12."""
EXACT = 2**53
"""Integers below this are exact in float64."""
_TARGET_BITS = 20
_TARGET_LIMIT = 2.0**40

Codes = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]


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


def from_fixed(fixed: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the values of fixed-point targets, or of their sums."""
    return np.asarray(fixed, np.float64) * 2.0**-_TARGET_BITS


def gram(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], bound: int) -> Ints:
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


def digest_arrays(arrays: Mapping[str, npt.NDArray[np.generic]]) -> str:
    """Hash named arrays with their types and shapes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        head = f"{name}\0{array.dtype.str}\0{array.shape}\0".encode()
        total.update(len(head).to_bytes(8, "little") + head)
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()
