"""Codes of the rows of a flat index, in one list or in lists by nearest pivot.

A row is a pivot if and only if the keyed hash of its id falls under a constant: that asks no other
row. Every row is in the list of its nearest pivot, which is told in whole numbers, ties by hash. So
lists and codes are a function of the set of rows, and :meth:`Coded.digest` shows it. To forget an
ordinary row touches its own list; to forget a pivot sends the rows of its list to their next
nearest; a new pivot calls in the rows that are nearer to it than to theirs. Knows nothing of exact
distances and of when to use it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from forgetnet.index.codes import GRID, Codes, sign_codes, turned, whole
from forgetnet.index.flat import FlatIndex
from forgetnet.record import id_hash
from forgetnet.store import Floats

__all__ = ["PIVOTS", "Coded"]

Ints = npt.NDArray[np.int64]
Number = TypeVar("Number", np.int32, np.uint64, np.float32)

# One row in so many is a pivot.
PIVOTS = 128
_CHUNK = 1_024
# Lists 0 and 1 are special: the codes of the pivots, labelled by list, and rows without a pivot.
_PIVOTS, _LONE, _FIRST = 0, 1, 2
_NOWHERE = np.float32(-np.inf)
_NOBODY = np.zeros(0, np.int64)


class Coded:
    """Codes of all rows of ``flat``, which it reads, and which changes first.

    Args:
        flat: the index whose rows these are.
        salt: secret bytes that key the choice of pivots.
        split: make lists by pivot; otherwise all rows are in one list.
    """

    def __init__(self, flat: FlatIndex, salt: bytes, *, split: bool) -> None:
        self.split = split
        self._flat = flat
        self._salt = salt
        self._codes = Codes(flat.dim, _FIRST)
        self._free: list[int] = []
        # By slot: list, offset in it, and product with the pivot.
        self._home = np.zeros(0, np.int32)
        self._spot = np.zeros(0, np.int32)
        self._near = np.zeros(0, np.float32)
        # By list: the pivot's hash. By pivot, in the order of these: id, list, whole numbers.
        self._key = np.zeros(_FIRST, np.uint64)
        self._names: list[str] = []
        self._lists = np.zeros(0, np.int64)
        self._matrix = np.zeros((0, flat.dim), np.float32)
        self._rows = 0

    @property
    def tier(self) -> str:
        """Which way of searching this is for: ``scan`` or ``pivots``."""
        return "pivots" if self.split else "scan"

    @property
    def pivots(self) -> int:
        """How many pivots there are."""
        return len(self._names)

    # -- changes

    def add(self) -> None:
        """Take in the rows that came to the end of the index since the last time."""
        start, self._rows = self._rows, len(self._flat)
        slots = np.arange(start, self._rows)
        if not len(slots):
            return
        self._reserve(self._rows)
        self._home[slots], self._near[slots] = _LONE, _NOWHERE
        if self.split:
            keys = [self._hash(i) for i in self._flat.names(slots)]
            new = [j for j, key in enumerate(keys) if key < 2**64 // PIVOTS]
            if new:
                joined = self._join(slots[new], [keys[j] for j in new])
                self._call_in(joined, start)
        codes = np.zeros((len(slots), self._codes.width), np.uint8)
        for part in _parts(slots):
            content = self._flat.content(part)
            self._choose(part, content)
            codes[part - start] = sign_codes(content)
        self._put(slots, codes)

    def remove(self, slots: Ints) -> None:
        """Take out rows, before the index removes them; none may be waiting to be added."""
        names = self._flat.names(slots) if self.split else []
        gone = self._leave([i for i in names if self._hash(i) < 2**64 // PIVOTS])
        self._take(slots)
        orphans = np.concatenate([np.zeros(0, np.int64), *map(self._codes.labels, gone)])
        codes = self._take(orphans)
        self._free.extend(gone)
        self._home[orphans], self._near[orphans] = _LONE, _NOWHERE
        for part in _parts(np.arange(len(orphans))):
            self._choose(orphans[part], self._flat.content(orphans[part]))
        self._put(orphans, codes)
        self._rows -= len(slots)

    def move(self, old: Ints, new: Ints) -> None:
        """Follow rows to other slots, after the index has moved them."""
        for array in (self._home, self._spot, self._near):
            array[new] = array[old]
            array[old] = 0
        for slot, home, spot in zip(
            new.tolist(), self._home[new].tolist(), self._spot[new].tolist(), strict=True
        ):
            self._codes.labels(home)[spot] = slot

    def wipe(self) -> None:
        """Overwrite everything, and leave it unusable."""
        self._codes.wipe()
        for array in (self._home, self._spot, self._near, self._key, self._matrix):
            array[:] = 0

    def _reserve(self, rows: int) -> None:
        if len(self._home) < rows:
            grown = max(rows, 2 * len(self._home))
            self._home, self._spot = _grown(self._home, grown), _grown(self._spot, grown)
            self._near = _grown(self._near, grown)

    def _put(self, slots: Ints, codes: npt.NDArray[np.uint8]) -> None:
        """Enter rows, with their codes, into the lists that are their homes."""
        order, groups = _grouped(self._home[slots])
        for home, start, stop in groups:
            mine = order[start:stop]
            first = self._codes.append(home, slots[mine], codes[mine])
            self._spot[slots[mine]] = np.arange(first, first + len(mine))

    def _take(self, slots: Ints) -> npt.NDArray[np.uint8]:
        """Take rows out of their lists; return their codes."""
        codes = np.zeros((len(slots), self._codes.width), np.uint8)
        order, groups = _grouped(self._home[slots])
        for home, start, stop in groups:
            mine = order[start:stop]
            spots = self._spot[slots[mine]].astype(np.int64)
            codes[mine] = self._codes.read(home, spots)
            moved, where = self._codes.remove(home, spots)
            self._spot[moved] = where
        self._home[slots], self._spot[slots], self._near[slots] = 0, 0, 0.0
        return codes

    # -- pivots

    def _hash(self, record_id: str) -> int:
        mac = hmac.digest(self._salt, b"pivot\0" + record_id.encode(), hashlib.sha256)
        return int.from_bytes(mac[:8])

    def _join(self, slots: Ints, keys: Sequence[int]) -> Ints:
        """Make rows pivots; return where they stand among the pivots."""
        while len(self._free) < len(slots):
            more = 2 * self._codes.lists + len(slots)
            self._free.extend(reversed(range(self._codes.lists, more)))
            self._codes = self._codes.grown(more)
            self._key = _grown(self._key, more)
        lists = np.array([self._free.pop() for _ in slots], np.int64)
        self._key[lists] = keys
        content = self._flat.content(slots)
        self._codes.append(_PIVOTS, lists, sign_codes(content))
        names = [*self._names, *self._flat.names(slots)]
        lists = np.concatenate([self._lists, lists])
        order = np.argsort(self._key[lists], kind="stable")
        self._arrange(order, names, lists, np.concatenate([self._matrix, whole(content)]))
        return np.flatnonzero(order >= len(names) - len(slots))

    def _leave(self, names: Sequence[str]) -> list[int]:
        """Make pivots ordinary; return their lists, with the rows still in them."""
        if not names:
            return []
        out = set(names)
        stays = np.array([i not in out for i in self._names], np.bool_)
        gone = self._lists[~stays]
        self._codes.remove(_PIVOTS, np.flatnonzero(np.isin(self._codes.labels(_PIVOTS), gone)))
        self._key[gone] = 0
        self._arrange(np.flatnonzero(stays), self._names, self._lists, self._matrix)
        return [int(number) for number in gone]

    def _arrange(self, order: Ints, names: list[str], lists: Ints, matrix: Floats) -> None:
        self._names = [names[i] for i in order.tolist()]
        self._lists = lists[order]
        arranged = matrix[order]
        matrix[:] = self._matrix[:] = 0
        self._matrix = arranged

    def _choose(self, slots: Ints, content: Floats) -> None:
        """Write down the nearest pivot of rows, if there is any."""
        if self._names:
            products = whole(content) @ self._matrix.T
            best = products.argmax(axis=1)  # the first of equals, as the hashes have it
            self._home[slots] = self._lists[best]
            self._near[slots] = products[np.arange(len(slots)), best]

    def _call_in(self, pivots: Ints, rows: int) -> None:
        """Move to new pivots those of the first rows that are nearer to them than to their own."""
        matrix, keys = self._matrix[pivots], self._key[self._lists[pivots]]
        # By Cauchy and Schwarz: half a unit in each number of a row, beside a pivot of length 4000;
        # and the rounding of float32.
        slack = 2_100 * self._flat.dim**0.5 + 2 * self._flat.dim + 16
        for start, content in self._flat.rows(rows, _CHUNK):
            rough = (content @ matrix.T).max(axis=1) * GRID
            some = np.flatnonzero(rough >= self._near[start : start + len(content)] - slack)
            if not len(some):
                continue
            slots = start + some
            products = whole(content[some]) @ matrix.T
            best = products.argmax(axis=1)
            product, near = products[np.arange(len(some)), best], self._near[slots]
            earlier = keys[best] < self._key[self._home[slots]]
            nearer = (product > near) | ((product == near) & earlier)
            slots = slots[nearer]
            codes = self._take(slots)
            self._home[slots] = self._lists[pivots][best[nearer]]
            self._near[slots] = product[nearer]
            self._put(slots, codes)

    # -- questions

    def candidates(
        self,
        query: Floats,
        window: float,
        reach: float,
        want: int,
        least: int,
        *,
        without: Ints = _NOBODY,
    ) -> Ints:
        """Return the slots of about ``want`` rows that seem the best of the nearest lists.

        Args:
            query: (d,) unit vector.
            window: how much less similar than the nearest pivot those may be, as cosines, whose
                lists are looked through.
            reach: at most so many of them, as a multiple of the number of pivots to the 3/4.
            want: how many rows.
            least: fewer than this only where so many can't be found.
            without: slots of rows that must not steer the answer; all lists are looked through
                then, as they may be pivots, and have split a list in two.
        """
        turn = turned(query)
        window = np.inf if len(without) else window
        while True:
            lists = self._nearest(query, turn, window, reach * len(self._names) ** 0.75)
            found = self._codes.best(turn, lists, want, least, without)
            if len(found) >= least or window >= 2.0:
                return found
            window, reach = max(0.1, 2 * window), np.inf

    def _nearest(self, query: Floats, turn: Floats, window: float, most: float) -> Ints:
        """Return the lists of the pivots in a window; of too many, those that are the nearest."""
        if not self._names:
            return np.array([_LONE])
        if window >= 2.0:
            return self._lists
        lists = self._codes.within(turn, _PIVOTS, window)
        if len(lists) <= most:
            return lists
        # Their codes are too coarse to tell apart so many: where no pivot is near, all seem alike.
        products = self._matrix @ whole(query)
        nth = len(products) - 1 - int(most)
        nearest: Ints = self._lists[products > np.partition(products, nth)[nth]]
        return nearest

    def digest(self) -> str:
        """Hash pivots, lists and codes in the order of id hashes: equal for equal sets of rows."""
        total = hashlib.sha256(f"{self.split}".encode())
        lists = [("", _LONE), *zip(self._names, self._lists.tolist(), strict=True)]
        for name, number in sorted(lists, key=lambda entry: id_hash(entry[0])):
            labels = self._codes.labels(number)
            codes = self._codes.read(number, np.arange(len(labels)))
            rows = zip(self._flat.names(labels), codes, strict=True)
            entries = sorted((id_hash(i), code.tobytes()) for i, code in rows)
            total.update(id_hash(name) + len(entries).to_bytes(8, "little"))
            for key, code in entries:
                total.update(key + code)
        return total.hexdigest()


def _parts(slots: Ints) -> Iterator[Ints]:
    for start in range(0, len(slots), _CHUNK):
        yield slots[start : start + _CHUNK]


def _grown(array: npt.NDArray[Number], size: int) -> npt.NDArray[Number]:
    grown = np.zeros(size, array.dtype)
    grown[: len(array)] = array
    array[:] = 0
    return grown


def _grouped(homes: npt.NDArray[np.int32]) -> tuple[Ints, Iterator[tuple[int, int, int]]]:
    """Return an order that brings equal homes together, and each home with its range there."""
    order = np.argsort(homes, kind="stable")
    found, starts, counts = np.unique(homes[order], return_index=True, return_counts=True)
    return order, zip(found.tolist(), starts.tolist(), (starts + counts).tolist(), strict=True)
