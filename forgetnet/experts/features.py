"""Random Fourier features in whole numbers: a record's features are the same bits everywhere.

Rahimi and Recht, "Random features for large-scale kernel machines" (2007), in the paired form of
Sutherland and Schneider, "On the error of random Fourier features" (2015): for frequencies w_j
drawn from N(0, 2 gamma), the features cos(w_j x) and sin(w_j x) have inner products that approach
exp(-gamma |x - y|^2). Codes times an integer projection give the phase in steps of 2^-24 turns,
exactly; 4,096 entries of a table give the cosine in 12 bits. Knows nothing of records or targets.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.exact import CODE_BITS, EXACT, Codes

__all__ = ["BLOCK", "FeatureMap"]

BLOCK = 2048
"""Records are turned into features so many at a time: 32 MB at 2,048 features."""
_ROWS = 256
_PHASE_BITS = 24
_TABLE_BITS = 12
_AMPLITUDE = 2**11 - 1
_CODE_LIMIT = 2**15
_DRAW = b"forgetnet/features/1"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """A fixed map from codes to features: it never sees data, so there is nothing to forget.

    Attributes:
        features: how many, even; half are cosines, half are the sines of the same phases.
        gamma: width of the kernel exp(-gamma |x - y|^2) that they approach.
        linear: whether the features are the codes themselves; the other two then say nothing.

    Raises:
        InvalidRecord: a setting that no map has.
    """

    features: int = 2048
    gamma: float = 0.5
    linear: bool = False

    def __post_init__(self) -> None:
        if self.features < 2 or self.features % 2:
            raise InvalidRecord(f"features= is even and at least 2, not {self.features}")
        if not 0.0 < self.gamma < math.inf:
            raise InvalidRecord(f"gamma= is above 0 and finite, not {self.gamma}")

    @property
    def largest(self) -> int:
        """The largest magnitude of a feature."""
        return _CODE_LIMIT if self.linear else _AMPLITUDE

    @property
    def energy(self) -> float:
        """The squared length of a record's features: exact of codes of length 1, else about so."""
        return 4.0**CODE_BITS if self.linear else self.features / 2 * _AMPLITUDE**2

    def width(self, dim: int) -> int:
        """Return how many features records of ``dim`` codes have."""
        return dim if self.linear else self.features

    def __call__(self, codes: Codes) -> Floats:
        """Map (n, d) codes to (n, width) whole numbers as float64."""
        if self.linear:
            return codes.astype(np.float64)
        projection = _projection(codes.shape[1], self.features // 2, self.gamma)
        cosine, sine = _tables()
        half = self.features // 2
        found = np.empty((len(codes), self.features))
        for start in range(0, len(codes), _ROWS):
            some = slice(start, start + _ROWS)
            # whole numbers below 2^53: the product is exact, and its low 24 bits are the phase
            turns = (codes[some].astype(np.float64) @ projection).astype(np.int64)
            turns >>= _PHASE_BITS - _TABLE_BITS
            turns &= (1 << _TABLE_BITS) - 1
            found[some, :half] = cosine[turns]
            found[some, half:] = sine[turns]
        return found

    def blocks(self, codes: Codes) -> Iterator[tuple[slice, Floats]]:
        """Yield (rows, features) of so many records as bounded memory bears."""
        for start in range(0, len(codes), BLOCK):
            rows = slice(start, start + BLOCK)
            yield rows, self(codes[rows])


@functools.lru_cache(maxsize=8)
def _projection(dim: int, count: int, gamma: float) -> Floats:
    """Draw a (dim, count) integer projection: phase steps for each step of a code.

    A number of N(0, 1) is drawn as (b - 32) / 4, where b counts the ones among 64 bits of
    SHAKE-256: mean 0 and variance 1 exactly, and no logarithm whose last bit differs between
    machines. The bits of frequency j don't depend on how many there are.
    """
    step = math.sqrt(2.0 * gamma) / 4.0 * 2.0 ** (_PHASE_BITS - CODE_BITS) / math.tau
    if dim * _CODE_LIMIT * (32.0 * step + 1.0) >= EXACT:
        raise InvalidRecord(f"gamma= {gamma} is too large for exact phases of {dim} dimensions")
    drawn = hashlib.shake_256(_DRAW + dim.to_bytes(4, "little")).digest(8 * dim * count)
    ones = np.bitwise_count(np.frombuffer(drawn, np.uint64)).reshape(count, dim)
    projection: Floats = np.rint((ones.astype(np.float64) - 32.0) * step).T.copy()
    projection.flags.writeable = False
    return projection


@functools.lru_cache(maxsize=1)
def _tables() -> tuple[Floats, Floats]:
    """Return 4,096 cosines and sines in 12 bits.

    No entry comes nearer than 2e-4 to where rounding turns, so every libm gives the same.
    """
    size = 1 << _TABLE_BITS
    turns = [math.tau * k / size for k in range(size)]
    cosine = np.array([float(round(math.cos(turn) * _AMPLITUDE)) for turn in turns])
    return cosine, np.roll(cosine, size // 4)
