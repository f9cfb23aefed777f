"""A flat vector index that remembers nothing: exact, and equal to its never-seen twin.

FAISS proposes by float32 inner product, float64 decides: the k answers are proven to be the exact
top k by an error bound on the proposals, are scored pair by pair, and ties go by id. So an answer
depends on the set of live rows alone, never on where a row lies. A removed row's slot is filled by
the last row, whose old slot is zeroed. Knows nothing of records: rows are ids with a content
vector and a place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from forgetnet.index.contents import Contents, Filed, Resident
from forgetnet.index.places import Places
from forgetnet.index.threads import one_thread
from forgetnet.store import Cone, Floats, Near

__all__ = ["FlatIndex", "Tags"]

_SPARE = 16
_FEW = 1_024
_CHUNK = 8_192
# To gather one row in so many costs less than to score them all where they lie.
_SPARSE = 20

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Tags = npt.NDArray[np.uint64]


class FlatIndex:
    """Rows (id, content, place, tag), searched flat.

    Args:
        dim: length of a content vector.
        filed: read content vectors from the files that :meth:`lay` names, instead of keeping them
            in memory; the answers are the same.
    """

    def __init__(self, dim: int, *, filed: bool = False) -> None:
        self.dim = dim
        self.contents: Contents = Filed(dim) if filed else Resident(dim)
        self._ids: list[str] = []
        self._slots: dict[str, int] = {}
        self._codes = np.zeros(0, np.int32)
        self._tags = np.zeros(0, np.uint64)
        self._places = Places()
        # |fl(x.q) - x.q| <= gamma_d |x||q| for unit vectors (Higham 2002, eq. 3.5), doubled for
        # the rounding of norms.
        self._bound = 2 * (dim + 8) * 2.0**-24

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, record_id: object) -> bool:
        return record_id in self._slots

    def add(
        self, ids: Sequence[str], content: Floats, place: Floats, tags: Tags | None = None
    ) -> None:
        """Append rows with new ids; (n, d) content, (n, 17) places, and (n,) tags or zeros."""
        start, n = len(self._ids), len(ids)
        self._reserve(start + n)
        self.contents.extend(content)
        self._codes[start : start + n] = self._places.add(place)
        self._tags[start : start + n] = 0 if tags is None else tags
        self._ids.extend(ids)
        self._slots.update(zip(ids, range(start, start + n), strict=True))

    def _reserve(self, rows: int) -> None:
        if len(self._codes) < rows:
            size = max(rows, 2 * len(self._codes), 64)
            codes, tags = np.zeros(size, np.int32), np.zeros(size, np.uint64)
            codes[: len(self._codes)], tags[: len(self._tags)] = self._codes, self._tags
            self._codes, self._tags = codes, tags

    def remove(self, ids: Iterable[str]) -> tuple[Ints, Ints]:
        """Remove rows with distinct present ids; their memory is overwritten.

        Returns:
            (m,) slots of rows that moved into freed ones, and (m,) slots where they lie now.
        """
        gone = np.array(sorted(map(self._slots.pop, ids)), np.int64)
        n = len(self._ids) - len(gone)
        moved = np.setdiff1d(np.arange(n, len(self._ids)), gone, assume_unique=True)
        freed = gone[gone < n]
        for slot in gone.tolist():
            self._places.drop(int(self._codes[slot]))
        self.contents.remove(gone, moved, freed)
        for old, new in zip(moved.tolist(), freed.tolist(), strict=True):
            self._ids[new] = self._ids[old]
            self._slots[self._ids[old]] = new
        for array in (self._codes, self._tags):
            array[freed] = array[moved]
            array[n : len(self._ids)] = 0
        del self._ids[n:]
        return moved, freed

    def lay(self, ids: Sequence[str], path: Path, starts: Ints) -> None:
        """Let the content of present ids lie in a file, at the bytes ``starts``; filed ones only.

        What isn't there to the bit stays in memory.
        """
        if isinstance(self.contents, Filed):
            self.contents.lay(self._at(ids), path, starts)

    def slots(self, ids: Iterable[str]) -> Ints:
        """Return the slots of those ids that are present, in the order given."""
        found = [slot for i in ids if (slot := self._slots.get(i)) is not None]
        return np.array(found, np.int64)

    def names(self, slots: Ints) -> list[str]:
        """Return the ids of rows by slot."""
        ids = self._ids
        return [ids[slot] for slot in slots.tolist()]

    def sort(self, ids: Iterable[str]) -> list[str]:
        """Return present ids in the order in which their rows lie: the quickest to gather."""
        return sorted(ids, key=self._slots.__getitem__)

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Floats]:
        """Return (n, d) content and (n, 17) place of present ids, in order."""
        slots = self._at(ids)
        return self.content(slots), self._places.values[self._codes[slots]]

    def tags(self, ids: Sequence[str]) -> Tags:
        """Return the (n,) tags of present ids, in order."""
        found: Tags = self._tags[self._at(ids)]
        return found

    def _at(self, ids: Sequence[str]) -> Ints:
        return np.fromiter(map(self._slots.__getitem__, ids), np.int64, len(ids))

    def content(self, slots: Ints) -> Floats:
        """Return (n, d) content by slot; quickest where slots ascend."""
        return self.contents.gather(slots)

    def rows(self, n: int, size: int) -> Iterator[tuple[int, Floats]]:
        """Iterate over the first ``n`` rows, by ``size`` at most: first slot, and rows."""
        for start, rows in self.contents.runs():
            if start >= n:
                return
            for first in range(0, min(len(rows), n - start), size):
                yield start + first, rows[first : min(first + size, n - start)]

    def cone(self, cone: Cone) -> set[str]:
        """Return the ids whose place lies in the half-space or is its apex."""
        return {self._ids[slot] for slot in np.flatnonzero(self._in_cone(cone)).tolist()}

    def _in_cone(self, cone: Cone) -> npt.NDArray[np.bool_]:
        return self._places.inside(cone)[self._codes[: len(self._ids)]]

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
        query = np.ascontiguousarray(vector, np.float32)
        if slots is not None and n <= max(_FEW, 4 * k):
            return self._decide(query, slots, k, near)
        if slots is None and near is None:
            return self._search_all(query, k)
        return self._search_scored(query, k, slots, near)

    def _allowed(
        self, only: Iterable[str] | None, without: Iterable[str], cone: Cone | None
    ) -> Ints | None:
        gone = self.slots(without)
        if only is None and cone is None and not len(gone):
            return None
        mask = np.ones(len(self._ids), np.bool_)
        if only is not None:
            mask[:] = False
            mask[self.slots(only)] = True
        if cone is not None:
            mask &= self._in_cone(cone)
        mask[gone] = False
        return np.flatnonzero(mask)

    def _search_all(self, query: Floats, k: int) -> list[tuple[str, float]]:
        """FAISS proposes from every row; widen until the bound proves the top k."""
        n = len(self._ids)
        want = min(n, k + _SPARE)
        while True:
            lowest, slots = self._propose(query, want)
            decided = self._decide(query, slots, k, None)
            if want == n or 1.0 - decided[-1][1] > lowest + self._bound:
                return decided
            want = min(n, 4 * want)

    def _propose(self, query: Floats, want: int) -> tuple[float, Ints]:
        """Return the slots of the ``want`` best float32 scores, and the lowest of these."""
        scores: list[Floats] = []
        slots: list[Ints] = []
        pointer = faiss.swig_ptr(query)
        with one_thread():
            for start, rows in self.contents.runs():
                found = min(want, len(rows))
                score, slot = np.empty(found, np.float32), np.empty(found, np.int64)
                out = faiss.swig_ptr(score), faiss.swig_ptr(slot)
                faiss.knn_inner_product(
                    pointer, faiss.swig_ptr(rows), self.dim, 1, len(rows), found, *out
                )
                scores.append(score)
                slots.append(slot + start)
        if len(scores) == 1:
            return float(scores[0][-1]), slots[0]
        best, order = _top(np.concatenate(scores), want)
        return float(best.min()), np.concatenate(slots)[order]

    def _scores(self, query: Floats) -> Floats:
        """Return the float32 score of every row, by FAISS."""
        scores = np.empty(len(self._ids), np.float32)
        inner_products = faiss.fvec_inner_products_ny  # type: ignore[attr-defined] # not in its annotations
        for start, rows in self.contents.runs():
            out = scores[start : start + len(rows)]
            pointers = faiss.swig_ptr(out), faiss.swig_ptr(query), faiss.swig_ptr(rows)
            inner_products(*pointers, self.dim, len(rows))
        return scores

    def _search_scored(
        self, query: Floats, k: int, slots: Ints | None, near: Near | None
    ) -> list[tuple[str, float]]:
        """Score every allowed row in float32, then decide among the best in float64."""
        chosen = np.arange(len(self._ids)) if slots is None else slots
        if len(chosen) * _SPARSE <= len(self._ids):
            parts = np.split(chosen, range(_CHUNK, len(chosen), _CHUNK))
            scores = np.concatenate([self.content(part) @ query for part in parts])
        else:
            scores = self._scores(query)[chosen]
        wide, bound = scores.astype(np.float64), self._bound
        if near is not None:
            wide, bound = -self._mixed(wide, chosen, near), 2 * bound
        want = min(len(chosen), k + _SPARE)
        while True:
            best, order = _top(wide, want)
            decided = self._decide(query, chosen[order], k, near)
            last = decided[-1][1]
            exact = 1.0 - last if near is None else -(last * last)
            # The last term is for the rounding of float64 itself, where a pull is large.
            if want == len(chosen) or exact - float(best.min()) > bound + 1e-14 * abs(exact):
                return decided
            want = min(len(chosen), 4 * want)

    def nearest(self, query: Floats, slots: Ints, k: int) -> list[tuple[str, float]]:
        """Return the exact k nearest of the rows in ``slots``, as :meth:`search` would."""
        if not len(slots):
            return []
        slots = np.sort(slots)
        if len(slots) > k + _SPARE:
            scores = self.content(slots) @ query
            # Whoever is among the top k in float64 can't lie further below the k-th in float32.
            floor = np.partition(scores, -k)[-k] - 2 * self._bound
            slots = slots[scores >= floor]
        return self._decide(query, slots, k, None)

    def _mixed(self, cosines: Doubles, slots: Ints, near: Near) -> Doubles:
        """Squared product metric of chordal distance in meaning and distance of places."""
        chords = np.maximum(0.0, 2.0 - 2.0 * cosines)
        mixed: Doubles = chords + self._places.pulls(near, self._codes[slots])
        return mixed

    def _decide(
        self, query: Floats, slots: Ints, k: int, near: Near | None
    ) -> list[tuple[str, float]]:
        """Score pair by pair in float64 (products of float32 are exact there), order, cut."""
        wide = query.astype(np.float64)
        parts = [
            (self.content(slots[i : i + _CHUNK]) * wide).sum(axis=1)
            for i in range(0, len(slots), _CHUNK)
        ]
        cosines = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if near is None:
            distances = 1.0 - cosines
        else:
            distances = np.sqrt(self._mixed(cosines, slots, near))
        pairs = zip(distances.tolist(), self.names(slots), strict=True)
        return [(record_id, distance) for distance, record_id in sorted(pairs)[:k]]


def _top(scores: npt.NDArray[Any], want: int) -> tuple[npt.NDArray[Any], Ints]:
    if want >= len(scores):
        return scores, np.arange(len(scores))
    best = np.argpartition(scores, len(scores) - want)[-want:]
    return scores[best], best
