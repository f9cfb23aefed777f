"""The distinct places of rows, each held once; a place that no row has any more is overwritten.

Knows nothing of ids, contents and searches.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forgetnet.store import PLACE_DIM, Cone, Floats, Near

__all__ = ["Places"]

_PLACE_BYTES = 4 * PLACE_DIM

Doubles = npt.NDArray[np.float64]


class Places:
    """The distinct places of rows, each once, under a small number; freed ones are zeroed."""

    def __init__(self) -> None:
        self.values = np.zeros((0, PLACE_DIM), np.float32)
        self.rows = np.zeros(0, np.int64)
        self._codes: dict[bytes, int] = {}
        self._free: list[int] = []

    def add(self, place: Floats) -> npt.NDArray[np.int32]:
        """Give each row the number of its place, and count it in."""
        data = np.ascontiguousarray(place, np.float32).tobytes()
        keys = [data[i : i + _PLACE_BYTES] for i in range(0, len(data), _PLACE_BYTES)]
        for key in set(keys) - self._codes.keys():
            self._new(key)
        found = np.fromiter(map(self._codes.__getitem__, keys), np.int32, len(keys))
        self.rows += np.bincount(found, minlength=len(self.rows))
        return found

    def _new(self, key: bytes) -> None:
        if not self._free:
            size = len(self.rows)
            grown = 2 * size + 16
            self._free.extend(reversed(range(size, grown)))
            self.rows = np.concatenate([self.rows, np.zeros(grown - size, np.int64)])
            values = np.zeros((grown, PLACE_DIM), np.float32)
            values[:size] = self.values
            self.values[:] = 0.0
            self.values = values
        code = self._codes[key] = self._free.pop()
        self.values[code] = np.frombuffer(key, np.float32)

    def drop(self, code: int) -> None:
        """Count a row out."""
        self.rows[code] -= 1
        if not self.rows[code]:
            del self._codes[self.values[code].tobytes()]
            self.values[code] = 0.0
            self._free.append(code)

    def inside(self, cone: Cone) -> npt.NDArray[np.bool_]:
        """Tell by number which places lie in the half-space or are its apex."""
        # Pair by pair in float64: one product per distinct place, in a fixed order of summation.
        products = (self.values.astype(np.float64) * cone.query).sum(axis=1)
        apex = (self.values == cone.apex).all(axis=1)
        found: npt.NDArray[np.bool_] = (products > cone.threshold) | apex
        return found

    def pulls(self, near: Near, codes: npt.NDArray[np.int32]) -> Doubles:
        """Square the weighted distances of the places of ``codes`` from a point."""
        used = np.unique(codes)
        table = np.zeros(len(self.rows))
        table[used] = (near.weight * near.distance(self.values[used])) ** 2
        pulls: Doubles = table[codes]
        return pulls
