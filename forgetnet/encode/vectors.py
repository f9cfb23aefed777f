"""Rows of numbers: what makes them fit to be stored. Knows nothing of texts or models."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord

__all__ = ["Floats", "check_vectors"]

Floats = npt.NDArray[np.float32]

_UNIT_SLACK = 1e-6
_ROWS_AT_ONCE = 4096


def check_vectors(array: npt.ArrayLike, dim: int) -> Floats:
    """Return the rows as unit float32 (n, dim), or refuse them all.

    A row whose squared norm is within 1e-6 of 1 keeps its bits. Any other is scaled by a power
    of two (so that nothing overflows), divided by its norm in float64 and rounded once. Each row
    is computed by itself, so its bits don't depend on the rows beside it, and a second pass
    changes nothing. An array of unit rows comes back as it is, not copied.

    Raises:
        InvalidRecord: not numbers, not ``dim`` wide, or a row is NaN, infinite or zero; the
            message names the row, counted from 0.
    """
    try:
        rows = np.asarray(array)
    except ValueError as error:
        raise InvalidRecord(f"vectors must be rows of {dim} numbers each: {error}") from error
    if rows.shape == (0,):
        return np.zeros((0, dim), dtype=np.float32)
    if rows.dtype.kind not in "fiu":
        raise InvalidRecord(f"vectors must be real numbers, not {rows.dtype}")
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise InvalidRecord(f"vectors must have shape (n, {dim}), not {rows.shape}")
    if rows.dtype == np.float32 and _are_unit(rows):
        return np.ascontiguousarray(rows, np.float32)
    out = np.empty(rows.shape, dtype=np.float32)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = np.ascontiguousarray(rows[start : start + _ROWS_AT_ONCE], dtype=np.float64)
        out[start : start + len(block)] = _unit_rows(block, start)
    return out


def _are_unit(rows: npt.NDArray[np.float32]) -> bool:
    """Tell quickly whether every row is well within the slack; a NaN is not."""
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return bool((np.abs(squares - 1.0) <= 0.9 * _UNIT_SLACK).all())


def _unit_rows(block: npt.NDArray[np.float64], start: int) -> npt.NDArray[np.float64]:
    """Normalise the rows of a block that need it; ``start`` is the number of its first row."""
    for bad, what in (
        (~np.isfinite(block).all(axis=1), "holds NaN or infinity"),
        (~block.any(axis=1), "is zero, so it has no direction"),
    ):
        if bad.any():
            row = start + int(bad.argmax())
            raise InvalidRecord(f"vector in row {row} {what}; nothing was stored")
    _, exponents = np.frexp(np.abs(block).max(axis=1))
    scaled = np.ldexp(block, -exponents[:, None])
    norms = np.sqrt((scaled * scaled).sum(axis=1))
    with np.errstate(over="ignore"):  # a norm beyond float64 is not near 1
        near = np.abs(np.ldexp(norms, exponents) ** 2 - 1.0) <= _UNIT_SLACK
    return np.where(near[:, None], block, scaled / norms[:, None])
