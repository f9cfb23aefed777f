"""Where content vectors lie: in memory, or in the files that keep them anyway.

Both kinds know rows by slot: new ones come to the end, and a freed slot is filled by a row from
there. Knows nothing of ids, places and searches.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from forgetnet.store import Floats

__all__ = ["Contents", "Filed", "Resident"]

# 100 MB at 384 numbers a row, of which only what is used is ever touched.
_BLOCK = 65_536
# Rows read from files at once where all are wanted: 12 MB at 384 numbers a row.
_READ = 8_192
# A file may have so many bytes, and there may be 8 million files.
_FILE_BITS = 40
_YOUNG = -1
_WEIGHT = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: far apart, so that swapped words show

Ints = npt.NDArray[np.int64]


class Contents(Protocol):
    """Content vectors by slot."""

    def __len__(self) -> int:
        """Count the rows."""
        ...

    def extend(self, content: Floats) -> None:
        """Append (n, d) rows."""
        ...

    def remove(self, gone: Ints, moved: Ints, freed: Ints) -> None:
        """Overwrite the rows of ``gone``, all below the end; those ``moved`` fill ``freed``."""
        ...

    def gather(self, slots: Ints) -> Floats:
        """Return (n, d) rows by slot; quickest where slots ascend."""
        ...

    def runs(self) -> Iterator[tuple[int, Floats]]:
        """Iterate over all rows, some at a time: first slot, and rows."""
        ...


class Resident:
    """Content vectors in blocks of memory."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._blocks: list[Floats] = []
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def extend(self, content: Floats) -> None:
        """Append (n, d) rows."""
        start, n = self._rows, len(content)
        while len(self._blocks) * _BLOCK < start + n:
            self._blocks.append(np.zeros((_BLOCK, self._dim), np.float32))
        done = 0
        while done < n:
            block, offset = divmod(start + done, _BLOCK)
            part = content[done : done + _BLOCK - offset]
            self._blocks[block][offset : offset + len(part)] = part
            done += len(part)
        self._rows += n

    def remove(self, gone: Ints, moved: Ints, freed: Ints) -> None:
        """Overwrite the rows of ``gone``; those ``moved`` fill ``freed``."""
        for old, new in zip(moved.tolist(), freed.tolist(), strict=True):
            self._blocks[new // _BLOCK][new % _BLOCK] = self._blocks[old // _BLOCK][old % _BLOCK]
        n = self._rows - len(gone)
        for start, rows in self.runs():
            rows[max(0, n - start) :] = 0.0
        self._rows = n
        spare = len(self._blocks) - 1 - -(-n // _BLOCK)
        if spare > 0:
            del self._blocks[-spare:]

    def gather(self, slots: Ints) -> Floats:
        """Return (n, d) rows by slot."""
        if len(self._blocks) == 1:
            only: Floats = self._blocks[0][slots]
            return only
        out = np.empty((len(slots), self._dim), np.float32)
        if len(slots) <= 4 * len(self._blocks):
            for i, slot in enumerate(slots.tolist()):
                out[i] = self._blocks[slot // _BLOCK][slot % _BLOCK]
            return out
        if (slots[1:] > slots[:-1]).all():
            for start, rows in self.runs():
                first, last = np.searchsorted(slots, [start, start + len(rows)]).tolist()
                # The mode is the one that copies straight to where the rows belong.
                np.take(rows, slots[first:last] - start, 0, out[first:last], "clip")
            return out
        blocks, offsets = np.divmod(slots, _BLOCK)
        for block in np.flatnonzero(np.bincount(blocks)).tolist():
            mine = np.flatnonzero(blocks == block)
            out[mine] = self._blocks[block][offsets[mine]]
        return out

    def runs(self) -> Iterator[tuple[int, Floats]]:
        """Iterate over the blocks: first slot, and the rows in use, which may be written to."""
        for start in range(0, self._rows, _BLOCK):
            yield start, self._blocks[start // _BLOCK][: min(_BLOCK, self._rows - start)]


class Filed:
    """Content vectors in files that others write; in memory only what no file was named for yet.

    Reads at every question, and holds no file open between two of them. A sum of each vector that
    lies in a file is kept, so that what was changed there meanwhile is refused.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._width = 4 * dim
        self._rows = 0
        self._where = np.zeros(0, np.int64)  # by slot: number of the file, and the byte in it
        self._sums = np.zeros(0, np.uint64)  # by slot, of what lies in a file
        self._young: dict[int, Floats] = {}
        self._paths: dict[int, Path] = {}
        self._counts: dict[int, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return self._rows

    @property
    def resident(self) -> int:
        """How many rows are in memory."""
        return len(self._young)

    def extend(self, content: Floats) -> None:
        """Append (n, d) rows, which stay in memory until they are laid into a file."""
        start, n = self._rows, len(content)
        if (have := len(self._where)) < start + n:
            size = max(start + n, 2 * have, 64)
            where, sums = np.zeros(size, np.int64), np.zeros(size, np.uint64)
            where[:have], sums[:have] = self._where, self._sums
            self._where, self._sums = where, sums
        self._where[start : start + n] = _YOUNG
        self._young.update((start + i, row.copy()) for i, row in enumerate(content))
        self._rows += n

    def remove(self, gone: Ints, moved: Ints, freed: Ints) -> None:
        """Forget where the rows of ``gone`` lie; those ``moved`` fill ``freed``."""
        self._let_go(gone)
        for old, new in zip(moved.tolist(), freed.tolist(), strict=True):
            if (row := self._young.pop(old, None)) is not None:
                self._young[new] = row
        self._rows -= len(gone)
        for array in (self._where, self._sums):
            array[freed] = array[moved]
            array[self._rows : self._rows + len(gone)] = 0

    def lay(self, slots: Ints, path: Path, starts: Ints) -> None:
        """Let rows lie in a file from now on, each at the byte that ``starts`` says.

        Those that are not there to the bit, or can't be read, stay in memory: nothing refers to
        where they lay before.
        """
        present = self.gather(slots)
        number = self._free.pop() if self._free else len(self._paths)
        self._paths[number] = path
        there = (starts >= 0) & (starts < 1 << _FILE_BITS)
        wanted = (number << _FILE_BITS) | np.where(there, starts, 0)
        try:
            found = self._read(wanted)
            there &= (found.view(np.uint32) == present.view(np.uint32)).all(axis=1)
        except OSError:
            there[:] = False
        self._let_go(slots)
        self._where[slots] = np.where(there, wanted, _YOUNG)
        self._sums[slots] = np.where(there, _sums_of(present), 0)
        self._counts[number] = int(there.sum())
        self._drop_unused([number])
        for i in np.flatnonzero(~there).tolist():
            self._young[int(slots[i])] = present[i].copy()

    def _let_go(self, slots: Ints) -> None:
        where = self._where[slots]
        for slot in slots[where == _YOUNG].tolist():
            self._young.pop(slot)[:] = 0.0
        if not self._young:  # a dict that was large once stays so
            self._young = {}
        numbers, counts = np.unique(where[where != _YOUNG] >> _FILE_BITS, return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            self._counts[number] -= count
        self._drop_unused(numbers.tolist())

    def _drop_unused(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if not self._counts[number]:
                del self._counts[number], self._paths[number]
                self._free.append(number)

    def gather(self, slots: Ints) -> Floats:
        """Return (n, d) rows by slot.

        Raises:
            OSError: a file is gone or too short, or a vector in it isn't what it was.
        """
        filed = self._where[slots] != _YOUNG
        if filed.all():
            return self._read_same(slots)
        out = np.empty((len(slots), self._dim), np.float32)
        out[filed] = self._read_same(slots[filed])
        for i in np.flatnonzero(~filed).tolist():
            out[i] = self._young[int(slots[i])]
        return out

    def _read_same(self, slots: Ints) -> Floats:
        """Read rows, all of them in files, and refuse what was changed there."""
        rows = self._read(self._where[slots])
        if (_sums_of(rows) != self._sums[slots]).any():
            raise OSError(errno.EBADMSG, "vectors in a file were changed")
        return rows

    def _read(self, where: Ints) -> Floats:
        """Read rows: each run of rows that lie side by side at once."""
        if not len(where):
            return np.zeros((0, self._dim), np.float32)
        order = np.argsort(where, kind="stable")
        where = where[order]
        rows = np.empty((len(where), self._dim), np.float32)
        cuts = np.flatnonzero(np.diff(where) != self._width) + 1
        firsts = [0, *cuts.tolist()]
        data, opened, handle = memoryview(rows.data).cast("B"), -1, -1
        try:
            for first, last in zip(firsts, [*firsts[1:], len(where)], strict=True):
                number, start = divmod(int(where[first]), 1 << _FILE_BITS)
                if number != opened:
                    if handle >= 0:
                        done, handle = handle, -1  # should the next not open, it is closed once
                        os.close(done)
                    handle, opened = os.open(self._paths[number], os.O_RDONLY), number
                _read_into(handle, data[first * self._width : last * self._width], start)
        finally:
            if handle >= 0:
                os.close(handle)
        if (order[1:] > order[:-1]).all():
            return rows
        out = np.empty_like(rows)
        out[order] = rows
        return out

    def runs(self) -> Iterator[tuple[int, Floats]]:
        """Read all rows, some at a time: first slot, and a copy of the rows."""
        for start in range(0, self._rows, _READ):
            yield start, self.gather(np.arange(start, min(start + _READ, self._rows)))


def _sums_of(rows: Floats) -> npt.NDArray[np.uint64]:
    """Sum each row's bits, as whole numbers with odd weights: no one of them changes unseen."""
    words: npt.NDArray[Any] = rows.view(np.uint32 if rows.shape[1] % 2 else np.uint64)
    weights = np.arange(words.shape[1], dtype=np.uint64) * _WEIGHT | 1
    sums: npt.NDArray[np.uint64] = words @ weights  # modulo 2^64
    return sums


def _read_into(handle: int, data: memoryview, start: int) -> None:
    done = 0
    while done < len(data):
        count = os.preadv(handle, [data[done:]], start + done)
        if not count:
            raise OSError(errno.EBADMSG, "a file of vectors ended too early")
        done += count
