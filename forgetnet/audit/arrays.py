"""What the audits of behaviour take in: arrays of one number an example, checked before use.

Also the one place where scipy is asked for. Knows nothing of metrics.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord, not_installed

__all__ = [
    "Compat",
    "Floats",
    "check_compat",
    "check_share",
    "matrix",
    "same_length",
    "statistics",
    "vector",
]

Floats = npt.NDArray[np.float64]
Compat = Literal["strict", "open-unlearning"]
"""``strict`` mends the faults of a definition; ``open-unlearning`` keeps them, to compare."""


def statistics() -> Any:
    """Import ``scipy.stats``, on first use.

    Raises:
        Unsupported: scipy isn't installed.
    """
    try:
        return importlib.import_module("scipy.stats")
    except ImportError as error:
        raise not_installed("scipy", "unlearn") from error


def vector(values: npt.ArrayLike, name: str, *, finite: bool = True, least: int = 1) -> Floats:
    """Return values as a (n,) array of float64.

    Args:
        values: one number an example.
        name: for the message.
        finite: refuse NaN and infinity.
        least: how many values there must be.

    Raises:
        InvalidRecord: another shape, too few values, or one that isn't finite.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < least:
        raise InvalidRecord(f"{name}: {least} or more numbers in one row, not {array.shape}")
    if finite and not np.isfinite(array).all():
        raise InvalidRecord(f"{name}: {int((~np.isfinite(array)).sum())} values aren't finite")
    return array


def matrix(values: npt.ArrayLike, name: str, *, finite: bool = True) -> Floats:
    """Return values as a (n, k) array of float64, neither n nor k zero.

    Raises:
        InvalidRecord: another shape, or a value that isn't finite.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or not array.size:
        raise InvalidRecord(f"{name}: a matrix with a row an example, not {array.shape}")
    if finite and not np.isfinite(array).all():
        raise InvalidRecord(f"{name}: {int((~np.isfinite(array)).sum())} values aren't finite")
    return array


def same_length(**arrays: npt.NDArray[Any]) -> int:
    """Return how many rows all of the arrays have.

    Raises:
        InvalidRecord: they differ.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise InvalidRecord(f"as many examples in each, not {lengths}")
    return next(iter(lengths.values()))


def check_compat(compat: str) -> None:
    """Refuse a word that isn't one of ``Compat``.

    Raises:
        InvalidRecord: another word.
    """
    if compat not in {"strict", "open-unlearning"}:
        raise InvalidRecord(f"compat is 'strict' or 'open-unlearning', not {compat[:40]!r}")


def check_share(value: float, name: str) -> None:
    """Refuse what doesn't lie strictly between 0 and 1.

    Raises:
        InvalidRecord: it doesn't.
    """
    if not 0 < value < 1:
        raise InvalidRecord(f"{name} lies between 0 and 1, not {value}")
