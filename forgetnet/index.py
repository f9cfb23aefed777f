"""A flat vector index that remembers nothing: exact, and equal to its never-seen twin.

FAISS proposes by float32 inner product, float64 decides: the k answers are proven to be the exact
top k by an error bound on the proposals, are scored pair by pair, and ties go by id. So an answer
depends on the set of live rows alone, never on where a row lies. A removed row's slot is filled by
the last row, whose old slot is zeroed. Knows nothing of records: rows are ids with a content
vector and a place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from forgetnet.store import PLACE_DIM, Cone, Floats, Near

__all__ = ["FlatIndex"]

_BLOCK = 16_384
_SPARE = 32
_FEW = 2_048

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class FlatIndex:
    """Rows (id, content, place) in blocks of memory, searched flat."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._blocks: list[Floats] = []
        self._ids: list[str] = []
        self._slots: dict[str, int] = {}
        self._codes = np.zeros(0, np.int32)
        self._places = np.zeros((0, PLACE_DIM), np.float32)
        self._place_rows: list[int] = []
        self._place_code: dict[bytes, int] = {}
        self._free: list[int] = []
        # |fl(x.q) - x.q| <= gamma_d |x||q| for unit vectors (Higham 2002, eq. 3.5), doubled for
        # the rounding of norms.
        self._bound = 2 * (dim + 8) * 2.0**-24

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, record_id: object) -> bool:
        return record_id in self._slots

    def add(self, ids: Sequence[str], content: Floats, place: Floats) -> None:
        """Append rows with new ids; (n, d) content and (n, 17) places."""
        start, n = len(self._ids), len(ids)
        self._reserve(start + n)
        for first in range(0, n, _BLOCK):
            part = content[first : first + _BLOCK]
            slot = start + first
            block, offset = divmod(slot, _BLOCK)
            head = min(len(part), _BLOCK - offset)
            self._blocks[block][offset : offset + head] = part[:head]
            if head < len(part):
                self._blocks[block + 1][: len(part) - head] = part[head:]
        self._codes[start : start + n] = self._encode_places(place)
        self._ids.extend(ids)
        self._slots.update(zip(ids, range(start, start + n), strict=True))

    def _reserve(self, rows: int) -> None:
        while len(self._blocks) * _BLOCK < rows:
            self._blocks.append(np.zeros((_BLOCK, self.dim), np.float32))
        if len(self._codes) < rows:
            grown = np.zeros(max(rows, 2 * len(self._codes), 64), np.int32)
            grown[: len(self._codes)] = self._codes
            self._codes = grown

    def _encode_places(self, place: Floats) -> npt.NDArray[np.int32]:
        """Give each distinct place a small number, and count its rows."""
        place = np.ascontiguousarray(place, np.float32)
        rows = place.view(np.dtype((np.void, place.dtype.itemsize * PLACE_DIM))).ravel()
        distinct, inverse, counts = np.unique(rows, return_inverse=True, return_counts=True)
        codes = np.empty(len(distinct), np.int32)
        for i, (key, n) in enumerate(zip(distinct, counts, strict=True)):
            codes[i] = self._place(key.tobytes(), int(n))
        return codes[inverse]

    def _place(self, key: bytes, rows: int) -> int:
        code = self._place_code.get(key)
        if code is None:
            if not self._free:
                more = range(len(self._place_rows), 2 * len(self._place_rows) + 16)
                self._free.extend(reversed(more))
                self._place_rows.extend(0 for _ in more)
                grown = np.zeros((len(self._place_rows), PLACE_DIM), np.float32)
                grown[: len(self._places)] = self._places
                self._places = grown
            code = self._free.pop()
            self._places[code] = np.frombuffer(key, np.float32)
            self._place_code[key] = code
        self._place_rows[code] += rows
        return code

    def remove(self, ids: Iterable[str]) -> None:
        """Remove rows; their memory is overwritten."""
        for record_id in ids:
            slot = self._slots.pop(record_id)
            self._drop_place(int(self._codes[slot]))
            last = len(self._ids) - 1
            moved = self._ids.pop()
            row = self._row(last)
            if slot != last:
                self._row(slot)[:] = row
                self._codes[slot] = self._codes[last]
                self._ids[slot] = moved
                self._slots[moved] = slot
            row[:] = 0.0
            self._codes[last] = 0
        spare = len(self._blocks) - 1 - -(-len(self._ids) // _BLOCK)
        if spare > 0:
            del self._blocks[-spare:]

    def _drop_place(self, code: int) -> None:
        self._place_rows[code] -= 1
        if self._place_rows[code] == 0:
            del self._place_code[self._places[code].tobytes()]
            self._places[code] = 0.0
            self._free.append(code)

    def _row(self, slot: int) -> Floats:
        row: Floats = self._blocks[slot // _BLOCK][slot % _BLOCK]
        return row

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Floats]:
        """Return (n, d) content and (n, 17) place of present ids, in order."""
        slots = np.fromiter((self._slots[i] for i in ids), np.int64, len(ids))
        return self._content(slots), self._places[self._codes[slots]]

    def _content(self, slots: Ints) -> Floats:
        out = np.empty((len(slots), self.dim), np.float32)
        blocks = slots // _BLOCK
        for block in np.unique(blocks):
            mask = blocks == block
            out[mask] = self._blocks[block][slots[mask] % _BLOCK]
        return out

    def cone(self, cone: Cone) -> set[str]:
        """Return the ids whose place lies in the half-space or is its apex."""
        return {self._ids[slot] for slot in np.flatnonzero(self._in_cone(cone))}

    def _in_cone(self, cone: Cone) -> npt.NDArray[np.bool_]:
        # Pair by pair in float64: one product per distinct place, in a fixed order of summation.
        products = (self._places.astype(np.float64) * cone.query).sum(axis=1)
        apex = (self._places == cone.apex).all(axis=1)
        inside: npt.NDArray[np.bool_] = (products > cone.threshold) | apex
        return inside[self._codes[: len(self._ids)]]

    def search(
        self,
        vector: Floats,
        k: int,
        *,
        only: Iterable[str] | None = None,
        without: Iterable[str] = (),
        cone: Cone | None = None,
        near: Near | None = None,
    ) -> list[tuple[str, float]]:
        """Return the exact k nearest rows: (id, distance), nearest first, ties by id.

        Args:
            vector: (d,) unit query.
            k: how many rows at most.
            only: ids to choose from, instead of all.
            without: ids to leave out.
            cone: half-space in which places must lie.
            near: pull towards a place; without it the distance is 1 - cosine.
        """
        slots = self._allowed(only, without, cone)
        n = len(self._ids) if slots is None else len(slots)
        k = min(k, n)
        if k <= 0:
            return []
        if slots is not None and n <= max(_FEW, 4 * k):
            return self._decide(vector, slots, k, near)
        if slots is None and near is None:
            return self._search_all(vector, k)
        return self._search_scored(vector, k, slots, near)

    def _allowed(
        self, only: Iterable[str] | None, without: Iterable[str], cone: Cone | None
    ) -> Ints | None:
        gone = [slot for i in without if (slot := self._slots.get(i)) is not None]
        if only is None and cone is None and not gone:
            return None
        mask = np.ones(len(self._ids), np.bool_)
        if only is not None:
            mask[:] = False
            mask[[slot for i in only if (slot := self._slots.get(i)) is not None]] = True
        if cone is not None:
            mask &= self._in_cone(cone)
        mask[gone] = False
        return np.flatnonzero(mask)

    def _search_all(self, vector: Floats, k: int) -> list[tuple[str, float]]:
        """FAISS proposes from every row; widen until the bound proves the top k."""
        n = len(self._ids)
        want = min(n, k + _SPARE)
        query = np.ascontiguousarray(vector, np.float32)
        while True:
            scores, slots = self._propose(query, want)
            decided = self._decide(vector, slots, k, None)
            floor = float(scores.min()) + self._bound
            if want == n or 1.0 - decided[-1][1] > floor:
                return decided
            want = min(n, 4 * want)

    def _propose(self, query: Floats, want: int) -> tuple[Floats, Ints]:
        n = len(self._ids)
        if n <= _BLOCK:
            return _top(self._blocks[0][:n] @ query, want)
        parts = []
        for start in range(0, n, _BLOCK):
            rows = self._blocks[start // _BLOCK][: min(_BLOCK, n - start)]
            found = min(want, len(rows))
            scores, slots = faiss.knn(query[None], rows, found, metric=faiss.METRIC_INNER_PRODUCT)
            parts.append((scores[0], slots[0] + start))
        scores = np.concatenate([part[0] for part in parts])
        best = _top(scores, want)
        return best[0], np.concatenate([part[1] for part in parts])[best[1]]

    def _search_scored(
        self, vector: Floats, k: int, slots: Ints | None, near: Near | None
    ) -> list[tuple[str, float]]:
        """Score every allowed row in float32, then decide among the best in float64."""
        n = len(self._ids)
        cosines = np.concatenate([
            self._blocks[start // _BLOCK][: min(_BLOCK, n - start)] @ vector
            for start in range(0, n, _BLOCK)
        ]).astype(np.float64)
        scores = cosines if near is None else -self._mixed(cosines, np.arange(n), near)
        bound = self._bound if near is None else 2 * self._bound + 1e-9
        chosen = np.arange(n) if slots is None else slots
        scores = scores[chosen]
        want = min(len(chosen), k + _SPARE)
        while True:
            best, order = _top(scores, want)
            decided = self._decide(vector, chosen[order], k, near)
            last = decided[-1][1]
            exact = 1.0 - last if near is None else -(last * last)
            if want == len(chosen) or exact > float(best.min()) + bound:
                return decided
            want = min(len(chosen), 4 * want)

    def _mixed(self, cosines: Doubles, slots: Ints, near: Near) -> Doubles:
        """Squared product metric of chordal distance in meaning and distance of places."""
        pulls = (near.weight * near.distance(self._places)) ** 2
        mixed: Doubles = np.maximum(0.0, 2.0 - 2.0 * cosines) + pulls[self._codes[slots]]
        return mixed

    def _decide(
        self, vector: Floats, slots: Ints, k: int, near: Near | None
    ) -> list[tuple[str, float]]:
        """Score pair by pair in float64 (products of float32 are exact there), order, cut."""
        cosines = (self._content(slots) * vector.astype(np.float64)).sum(axis=1)
        if near is None:
            distances = 1.0 - cosines
        else:
            distances = np.sqrt(self._mixed(cosines, slots, near))
        ids = self._ids
        ranked = sorted(zip(distances.tolist(), (ids[s] for s in slots.tolist()), strict=True))
        return [(record_id, distance) for distance, record_id in ranked[:k]]


def _top(scores: npt.NDArray[Any], want: int) -> tuple[npt.NDArray[Any], Ints]:
    if want >= len(scores):
        return scores, np.arange(len(scores))
    best = np.argpartition(scores, len(scores) - want)[-want:]
    return scores[best], best
