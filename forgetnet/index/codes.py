"""One bit for each number of a turned vector, in lists that FAISS scans by table lookup.

The codes are the signs of RaBitQ (Gao and Long 2024, centre 0): a vector is turned by a constant
rotation, and only signs are kept. A query, turned alike and kept in full, scores a code by the sum
of its own numbers under these signs, which estimates the inner product up to a constant. RaBitQ's
factor for each row is left out: beside an exact second look it changed no recall. All arithmetic
on the way to a code is of whole numbers below 2^24, so that its bits don't depend on the batch,
the machine or the order of summation. Knows nothing of ids, pivots and exact distances.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from forgetnet.index.threads import one_thread
from forgetnet.store import Floats

__all__ = ["GRID", "Codes", "rotation", "sign_codes", "turned", "whole"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

# Unit vectors on this grid have products, and partial sums of products, below 2^24.
GRID = np.float32(4000)
_CHUNK = 4_096
_SOME = 64
# FAISS scans 32 codes at a time. In a block lie, for every byte of a code, 16 bytes with its low
# halves and 16 with its high ones: rows 0 to 15 of the block in their low halves, rows 16 to 31 in
# their high halves, in this order.
_ROWS = 32
_PLACE = np.array([0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15])
_SEED = 0x464F5247


def whole(rows: Floats) -> Floats:
    """Round (n, d) unit vectors to whole numbers: the cosine, times 16 million, is then exact."""
    rounded: Floats = np.rint(rows * GRID)
    return rounded


@lru_cache(maxsize=8)
def rotation(dim: int) -> Floats:
    """Return the (width, dim) rotation: the same for everybody, in whole numbers.

    ``width`` is ``dim`` rounded up to a multiple of 8; the rows beyond ``dim`` are zero.
    """
    normal = np.random.Generator(np.random.PCG64(_SEED)).standard_normal((dim, dim))
    rows = np.zeros((-(-dim // 8) * 8, dim), np.float32)
    rows[:dim] = whole(np.linalg.qr(normal)[0].astype(np.float32))
    rows.flags.writeable = False
    return rows


def turned(vector: Floats) -> Floats:
    """Turn a (d,) query; it keeps its numbers."""
    out: Floats = np.ascontiguousarray(rotation(len(vector)) @ whole(vector))
    return out


def sign_codes(rows: Floats) -> Bytes:
    """Turn (n, d) vectors and keep the signs: (n, width / 8) bytes."""
    turn = rotation(rows.shape[1]).T
    parts = [
        np.packbits(whole(rows[i : i + _CHUNK]) @ turn > 0, axis=1, bitorder="little")
        for i in range(0, len(rows), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, turn.shape[1] // 8), np.uint8)


class Codes:
    """Lists of (label, code), searched together; what leaves a list is overwritten in memory.

    Attributes:
        lists: how many there are, numbered from 0.
        width: bytes of a code.
    """

    def __init__(self, dim: int, lists: int) -> None:
        width = len(rotation(dim))
        # One sub-quantizer for 4 bits, whose 16 centroids are the patterns of their signs.
        bits = np.arange(16)[:, None] >> np.arange(4) & 1
        signs = np.tile(np.where(bits, 1.0, -1.0).astype(np.float32), (width // 4, 1))
        quantizer = faiss.IndexFlatIP(width)  # never asked: who searches names the lists
        metric = faiss.METRIC_INNER_PRODUCT
        index: Any = faiss.IndexIVFPQFastScan(quantizer, width, lists, width // 4, 4, metric)
        faiss.copy_array_to_vector(signs.ravel(), index.pq.centroids)
        index.by_residual = False
        index.is_trained = True
        self._index, self._quantizer = index, quantizer  # FAISS holds the second by its address
        self._lists = faiss.downcast_InvertedLists(index.invlists)
        self._dim = dim
        self.lists = lists
        self.width = width // 8

    def size(self, number: int) -> int:
        """Return how many entries a list has."""
        return int(self._lists.list_size(number))

    def labels(self, number: int) -> Ints:
        """Return the labels of a list, as a view: to be written to, until the list changes."""
        size = self.size(number)
        if not size:
            return np.zeros(0, np.int64)
        view: Ints = faiss.rev_swig_ptr(self._lists.get_ids(number), size)
        return view

    def _blocks(self, number: int) -> Bytes:
        """View the memory of a list: block, byte of the code, low or high halves, place."""
        blocks = -(-self.size(number) // _ROWS)
        shape = (blocks, self.width, 2, 16)
        if not blocks:
            return np.zeros(shape, np.uint8)
        memory = faiss.rev_swig_ptr(self._lists.get_codes(number), blocks * _ROWS * self.width)
        view: Bytes = memory.reshape(shape)
        return view

    def read(self, number: int, spots: Ints) -> Bytes:
        """Return the codes at some offsets of a list."""
        blocks, (block, row) = self._blocks(number), np.divmod(spots, _ROWS)
        halves = blocks[block, :, :, _PLACE[row % 16]] >> (row // 16 * 4)[:, None, None] & 15
        codes: Bytes = halves[:, :, 0] | halves[:, :, 1] << 4
        return codes.astype(np.uint8)

    def _write(self, number: int, spots: Ints, codes: Bytes) -> None:
        blocks, (block, row) = self._blocks(number), np.divmod(spots, _ROWS)
        halves = np.stack([codes & 15, codes >> 4], axis=2)
        # Two rows share a byte: the upper half of the rows is written after the lower one.
        for upper, keep in ((0, 0xF0), (1, 0x0F)):
            mine = row // 16 == upper
            where = (block[mine], slice(None), slice(None), _PLACE[row[mine] % 16])
            blocks[where] = blocks[where] & keep | halves[mine] << (4 * upper)

    def _resize(self, number: int, size: int) -> None:
        """Change the size of a list; entries that drop out must be overwritten already."""
        before = self._blocks(number)
        after = -(-size // _ROWS) * _ROWS * self.width
        if _capacity(before.size) == _capacity(after):
            self._lists.resize(number, size)
            return
        kept = before.copy()  # FAISS will let go of this memory as it is
        before[:] = 0
        self._lists.resize(number, size)
        blocks = self._blocks(number)
        blocks[:] = 0
        common = min(len(kept), len(blocks))
        blocks[:common] = kept[:common]
        kept[:] = 0

    def append(self, number: int, labels: Ints, codes: Bytes) -> int:
        """Put entries at the end of a list; return the offset of the first."""
        start = self.size(number)
        self._resize(number, start + len(labels))
        self.labels(number)[start:] = labels
        for i in range(0, len(labels), _CHUNK):
            part = codes[i : i + _CHUNK]
            self._write(number, np.arange(start + i, start + i + len(part)), part)
        return start

    def remove(self, number: int, spots: Ints) -> tuple[Ints, Ints]:
        """Take out the entries at distinct offsets of a list.

        Returns:
            (m,) labels of entries that moved into freed offsets, and (m,) offsets where they are.
        """
        size = self.size(number)
        left = size - len(spots)
        moved = np.setdiff1d(np.arange(left, size), spots, assume_unique=True)
        freed = spots[spots < left]
        labels = self.labels(number)
        names = labels[moved].copy()
        labels[freed] = names
        self._write(number, freed, self.read(number, moved))
        tail = np.arange(left, size)
        self._write(number, tail, np.zeros((len(tail), self.width), np.uint8))
        self._resize(number, left)
        return names, freed

    def grown(self, lists: int) -> Codes:
        """Return the same lists with empty ones added; these here are overwritten."""
        found = Codes(self._dim, lists)
        for number in range(self.lists):
            if size := self.size(number):
                found.append(number, self.labels(number), self.read(number, np.arange(size)))
        self.wipe()
        return found

    def wipe(self) -> None:
        """Overwrite every list, and leave it empty."""
        for number in range(self.lists):
            self._blocks(number)[:] = 0
            self._lists.resize(number, 0)

    def best(self, query: Floats, lists: Ints, want: int, least: int, without: Ints) -> Ints:
        """Return the labels of the best scores in some lists, in no order.

        About ``want`` of them: those that tie with the last are left out, all of them, so that
        the answer doesn't depend on where in a list an entry lies. At least ``least`` where so many
        can be found: a code that has the wrong sign everywhere never is. The answer is what it
        would be if the labels ``without`` were in no list.
        """
        while True:
            scores, labels = self._search(query, lists, want + len(without))
            if len(without):
                others = ~np.isin(labels, without)
                scores, labels = scores[others], labels[others]
            if len(scores) < want:
                return labels
            found: Ints = labels[scores > scores[want - 1]]
            if len(found) >= least:
                return found
            want *= 4

    def within(self, query: Floats, number: int, window: float) -> Ints:
        """Return the labels of one list that seem at most ``window`` below the best, as cosines."""
        # What a unit vector scores with itself: the sum of the absolute numbers of its turned form.
        one = float(GRID) ** 2 * (2 * self._dim / np.pi) ** 0.5
        want = _SOME
        while True:
            scores, labels = self._search(query, np.array([number]), want)
            near = scores >= scores[:1].sum() - window * one
            if len(scores) < want or not near[-1]:
                found: Ints = labels[near]
                return found
            want *= 4

    def _search(self, query: Floats, lists: Ints, want: int) -> tuple[Floats, Ints]:
        """Return scores and labels of the ``want`` best in some lists, best first."""
        lists = np.ascontiguousarray(lists, np.int64)
        apart = np.zeros(len(lists), np.float32)
        parameters = faiss.SearchParametersIVF(nprobe=len(lists))  # type: ignore[call-arg] # not in its annotations
        scores, labels = np.empty(want, np.float32), np.empty(want, np.int64)
        pointers = [faiss.swig_ptr(array) for array in (lists, apart, scores, labels)]
        with one_thread():
            self._index.search_preassigned_c(
                1, faiss.swig_ptr(query), want, *pointers, False, parameters
            )
        found = int(np.count_nonzero(labels >= 0))  # the rest are marked as missing
        return scores[:found], labels[:found]


def _capacity(size: int) -> int:
    """Return what FAISS allocates for so many bytes: it takes new memory when this changes."""
    return 1 << (size - 1).bit_length() if size > 256 else 256 * (size > 0)
