"""The index that serves: exact while there are few rows, by codes when there are many.

Which of its three ways answers follows from the number of rows alone, never from how it came about:
flat, then a scan of 1-bit codes, then codes in lists by pivot. Both of the latter look once more at
the best, exactly, in float64. So every answer is a function of the live rows; what a removed row
was like steers nothing. Knows nothing of records.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forgetnet.heap import trim
from forgetnet.index.flat import FlatIndex, Tags
from forgetnet.index.pivots import Coded
from forgetnet.record import id_hash
from forgetnet.store import Cone, Floats, Near

__all__ = ["DEFAULT", "LADDER", "SCAN_ROWS", "SPLIT_ROWS", "Index", "Rung"]

Ints = npt.NDArray[np.int64]

# From so many rows on, codes; below, an exact search takes a few milliseconds at most.
SCAN_ROWS = 32_768
# From so many rows on, lists by pivot. At a million rows they save 1 to 4 ms a search, and to make
# them, at the first search after opening, takes 45 s; to make codes alone takes 3 s.
SPLIT_ROWS = 1_048_576
# Whoever would look once more at more than one row in so many, looks at all.
_FEWEST = 16
_SAMPLE = 64
_SAMPLE_K = 10


@dataclass(frozen=True, slots=True)
class Rung:
    """How far a search by codes looks.

    Attributes:
        window: how much less similar than the nearest pivot others may be, as cosines, whose lists
            are looked through.
        reach: at most so many lists, as a multiple of the number of pivots to the 3/4.
        rows: rows looked at once more, as a multiple of k + 8.
    """

    window: float
    reach: float
    rows: int

    def width(self, k: int) -> int:
        """Return how many rows are looked at once more for k hits."""
        return (k + 8) * self.rows


# Constants, for a choice made from the rows would have to be made again with every change.
LADDER = (
    Rung(0.2, 1.0, 8),
    Rung(0.3, 1.25, 8),
    Rung(0.4, 1.75, 16),
    Rung(0.5, 3.0, 16),
    Rung(math.inf, math.inf, 32),
)
DEFAULT = LADDER[2]


class Index(FlatIndex):
    """Rows (id, content, place), searched by the way that fits their number.

    Args:
        dim: length of a content vector.
        salt: secret bytes that key the choice of pivots.
        scan: number of rows from which on there are codes.
        split: number of rows from which on codes are in lists by pivot.
        filed: read content vectors from files instead of keeping them in memory.
    """

    def __init__(
        self,
        dim: int,
        salt: bytes = b"",
        *,
        scan: float = SCAN_ROWS,
        split: float = SPLIT_ROWS,
        filed: bool = False,
    ) -> None:
        super().__init__(dim, filed=filed)
        self._salt = salt
        self._sizes = scan, split
        self._coded: Coded | None = None
        # What was measured of the present rows: the first rung that reaches a target, and the exact
        # answers to the sample.
        self._rungs: dict[float, Rung | None] = {}
        self._exact: list[set[str]] | None = None
        self._settling = threading.Lock()

    @property
    def tier(self) -> str:
        """Which way answers: ``flat``, ``scan`` or ``pivots``."""
        return self._tier(len(self))

    def _tier(self, rows: int) -> str:
        scan, split = self._sizes
        if rows < scan:
            return "flat"
        return "scan" if rows < split else "pivots"

    def add(
        self, ids: Sequence[str], content: Floats, place: Floats, tags: Tags | None = None
    ) -> None:
        """Append rows with new ids, as a flat index does. Codes wait for a search."""
        super().add(ids, content, place, tags)
        self._changed()

    def remove(self, ids: Iterable[str]) -> tuple[Ints, Ints]:
        """Remove rows; their vectors and codes are overwritten in memory."""
        ids = list(ids)
        coded, self._coded = self._coded, None  # what is cut short answers no more
        if coded is not None and coded.tier != self._tier(len(self) - len(ids)):
            coded.wipe()
            coded = None
        if coded is not None:
            try:
                coded.add()
                coded.remove(self.slots(ids))
            except OSError:  # vectors in files that can't be read: the next search makes codes anew
                coded.wipe()
                coded = None
        moves = super().remove(ids)
        self._changed()
        if coded is not None:
            coded.move(*moves)
        self._coded = coded
        return moves

    def _changed(self) -> None:
        self._rungs.clear()
        self._exact = None

    def settle(self) -> None:
        """Make the codes that the present rows ask for; the next search would.

        Rows that come in many batches, as when a store opens, are so taken in at once.
        """
        self._settled()

    def _settled(self) -> Coded | None:
        with self._settling:
            coded, self._coded = self._coded, None  # what is cut short answers no more
            done = False
            try:
                if coded is not None and coded.tier != self.tier:
                    coded.wipe()
                    coded = None
                new = coded is None and self.tier != "flat"
                if new:
                    coded = Coded(self, self._salt, split=self.tier == "pivots")
                if coded is not None:
                    coded.add()
                done = True
                if new:
                    trim()
            finally:
                if not done and coded is not None:
                    coded.wipe()
            self._coded = coded
            return coded

    def search(
        self,
        vector: Floats,
        k: int,
        *,
        only: Iterable[str] | None = None,
        without: Iterable[str] = (),
        cone: Cone | None = None,
        near: Near | None = None,
        recall_target: float | None = None,
    ) -> list[tuple[str, float]]:
        """Return the k nearest rows: (id, distance), nearest first, ties by id.

        Distances are exact. With few rows, a filter, a pull or ``recall_target=1.0`` so are the
        hits; else some that belong among the k may be missing, never so that there are fewer.

        Args:
            vector: (d,) unit query.
            k: how many rows at most.
            only: ids to choose from, instead of all.
            without: ids to leave out; they steer nothing either.
            cone: half-space in which places must lie.
            near: pull towards a place; without it the distance is 1 - cosine.
            recall_target: share of the exact hits to find on average, as measured on a sample of
                the rows themselves; None for what :data:`DEFAULT` finds.
        """
        asked = only is not None or cone is not None or near is not None
        if self.tier != "flat" and not asked and k > 0:
            out = np.unique(self.slots(without))  # one may be named twice
            rung = self._rung_for(k, out, recall_target)
            if rung is not None:
                found = self._look(vector, k, rung, out)
                if len(found) == min(k, len(self) - len(out)):
                    return found
        return super().search(vector, k, only=only, without=without, cone=cone, near=near)

    def _rung_for(self, k: int, out: Ints, recall_target: float | None) -> Rung | None:
        """Return how far to look for k of the rows that aren't ``out``; None to look at all."""
        rows = len(self) - len(out)
        # What a rung finds was measured of all rows, of which some may steer nothing now.
        measured = recall_target is not None and (recall_target >= 1.0 or len(out) > 0)
        if self._tier(rows) == "flat" or measured:
            return None
        rung = DEFAULT if recall_target is None else self.rung(recall_target)
        return None if rung is None or rung.width(k) * _FEWEST > rows else rung

    def by_codes(self, vector: Floats, k: int, rung: Rung = DEFAULT) -> list[tuple[str, float]]:
        """Look as far as a rung says, at whatever price; fewer than k only where codes fail."""
        return self._look(vector, k, rung, np.zeros(0, np.int64))

    def _look(self, vector: Floats, k: int, rung: Rung, out: Ints) -> list[tuple[str, float]]:
        query = np.ascontiguousarray(vector, np.float32)
        if (coded := self._settled()) is None:
            return super().search(query, k, without=self.names(out))
        slots = coded.candidates(query, rung.window, rung.reach, rung.width(k), k, without=out)
        return self.nearest(query, slots, k)

    # -- recall

    def rung(self, target: float) -> Rung | None:
        """Return the first rung that reaches a recall; None for an exact search."""
        if target >= 1.0:
            return None
        if target not in self._rungs:
            reached = (rung for rung in LADDER if self.recall(rung) >= target)
            self._rungs[target] = next(reached, None)
        return self._rungs[target]

    def recall(self, rung: Rung = DEFAULT) -> float:
        """Measure the share of the exact 10 nearest that a search by codes finds.

        Queries are the 64 rows with the smallest id hashes, so that the figure, too, follows from
        the rows alone. Each of them is its own nearest row, which is not counted. 1.0 where there
        are no codes, or nothing else to find.
        """
        if self.tier == "flat" or len(self) < 2:
            return 1.0
        sample = heapq.nsmallest(_SAMPLE, self._ids, key=id_hash)
        queries, k = self.vectors(sample)[0], _SAMPLE_K + 1
        if self._exact is None:
            self._exact = [{i for i, _ in super(Index, self).search(q, k)[1:]} for q in queries]
        found = [{i for i, _ in self.by_codes(q, k, rung)} for q in queries]
        hits = sum(len(a & b) for a, b in zip(self._exact, found, strict=True))
        return hits / sum(map(len, self._exact))

    def digest(self) -> str:
        """Hash which way answers, and the state it answers from: equal for equal sets of rows."""
        coded = self._settled()
        inner = "" if coded is None else coded.digest()
        return hashlib.sha256(f"{self.tier} {inner}".encode()).hexdigest()
