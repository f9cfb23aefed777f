"""Recognising traces in what was decoded from one file after another, and counting them.

A row of a live survivor may hold the same text, vector or subject as a forgotten record, as it
would had that record never come: such cells are explained. Its own id and its row key never are.
Knows nothing of folders and formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgetnet.audit.documents import Loose
from forgetnet.audit.needles import Label, Needles
from forgetnet.audit.rows import Leaf, cells, columns, integers, plain, raw_bytes, vectors
from forgetnet.audit.trace import Hasher, Kind, Traces

__all__ = ["Look", "Mark", "Tally"]

Mark = tuple[Kind, bytes]
"""A kind, and the hash of what was found."""

_BITS = re.compile("[01]{8,}")  # a leaf's prefix in the manifest; shorter ones are not looked at
_ROW_BYTES = 16  # shorter values are left to the decoded cells in files of rows: they have so many


def _zeros() -> dict[Kind, int]:
    return dict.fromkeys(Kind, 0)


@dataclass(slots=True)
class Tally:
    """What was found so far; see ``Findings``."""

    found: set[Mark] = field(default_factory=set)
    decoded: set[Mark] = field(default_factory=set)
    hits: dict[Kind, int] = field(default_factory=_zeros)
    explained: dict[Kind, int] = field(default_factory=_zeros)
    keys: dict[bytes, frozenset[bytes]] = field(default_factory=dict)
    rows: int = 0


@dataclass(slots=True)
class _Rows:
    """A batch under the lens: which rows survivors live in, and which hold a trace."""

    batch: pa.RecordBatch
    live: npt.NDArray[np.bool_]
    hit: npt.NDArray[np.bool_]
    ids: dict[int, bytes] = field(default_factory=dict)


class Look:
    """A look at one file after another: ``begin``, its parts, ``end``.

    Args:
        traces: what is looked for, hashed.
        needles: the same in plain, or None.
        survivors: tells whether an id is live, or None.
        words: what the memory writes by itself.
        raw: search bytes for the needles, too.
    """

    def __init__(
        self,
        traces: Traces,
        needles: Needles | None,
        survivors: Callable[[str], bool] | None,
        words: frozenset[str],
        *,
        raw: bool = True,
    ) -> None:
        self.tally = Tally()
        self._hasher = Hasher(traces.salt)
        self._lookup = traces.lookup()
        self._has_keys = any(trace.keys for trace in traces.items)
        self._dim = traces.dim
        self._needles = needles if raw else None
        # What is known in plain is told apart before it is hashed, which takes far longer.
        self._sieve = needles if needles is not None and needles.knows(traces) else None
        self._survivors = survivors
        self._words = words
        self._own = words
        self._raw: set[Label] = set()
        self._here: set[Mark] = set()

    def begin(self) -> None:
        """Start on a file."""
        self._own = self._words
        self._here = set()
        self._raw = set()

    def stands(self, patterns: Iterable[int]) -> None:
        """Take note of the needles' patterns that stand in the file's bytes."""
        if self._needles is not None:
            self._raw = self._needles.labels(patterns)

    def end(self) -> None:
        """Count the needles that stand in the file's bytes and that nothing decoded explains."""
        self.tally.decoded |= self._here
        self._blame(self._raw)
        self.tally.found |= self._here

    def leave_short(self) -> None:
        """Leave needles under 16 bytes to the decoded cells: this is a file of rows."""
        self._raw = {label for label in self._raw if label.at_least(_ROW_BYTES)}

    def _see(self, kind: Kind, digest: bytes, places: int = 1) -> None:
        self._here.add((kind, digest))
        self.tally.hits[kind] += places

    def _blame(self, labels: Iterable[Label]) -> None:
        """Count labels as found, unless they were already in this file or are ordinary words."""
        for label in labels:
            new = (label.kind, label.digest) not in self._here
            if new and not _is_word(label.source, self._own):
                self._see(label.kind, label.digest)

    def _within(self, data: bytes) -> set[Label]:
        if self._needles is None:
            return set()
        return self._needles.labels(self._needles.matcher.find(data))

    # -- what stands outside rows

    def loose(self, part: Loose) -> None:
        """Compare what stands outside rows: whole, and searched for needles."""
        self._own |= part.own
        numbers = [vector.tobytes() for vector in part.vectors]
        digests = [self._hasher.of(data) for data in numbers]
        digests += [self._hasher.key(n) for n in part.integers if n < 1 << 64]
        whole = list(dict.fromkeys([*part.strings, *part.literals()]))
        whole = [s for s in whole if s not in self._own and not _BITS.fullmatch(s)]
        digests += [self._hasher.name(string) for string in whole]
        for digest in digests:
            for kind in self._lookup.get(digest, ()):
                self._see(kind, digest)
        if self._needles is not None:
            inside = [string.encode("utf-8", "surrogatepass") for string in part.strings]
            self._blame(self._within(b"\0\0".join([*inside, *part.blobs, *numbers])))

    # -- rows

    def batch(self, batch: pa.RecordBatch) -> None:
        """Compare every cell of some rows.

        Raises:
            StoreCorrupt: a column has a type that can't be read.
        """
        batch = plain(batch)
        self.tally.rows += batch.num_rows
        rows = _Rows(batch, self._live(batch), np.zeros(batch.num_rows, np.bool_))
        keys: dict[int, int] = {}
        for leaf in columns(batch):
            self._cells(leaf, rows)
            if leaf[0] == "key" or self._has_keys:
                found = list(integers(leaf))
                if leaf[0] == "key":
                    keys |= {row: key for key, row in found}
                for key, row in found if self._has_keys else ():
                    if (digest := self._hasher.key(key)) in self._lookup:
                        self._cell(leaf[0], digest, np.array([row]), rows)
        for row, digest in rows.ids.items():
            if row in keys:
                learnt = self.tally.keys.get(digest, frozenset())
                self.tally.keys[digest] = learnt | {self._hasher.key(keys[row])}
        self._inside(rows)

    def _live(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Tell which rows are of live survivors, by their ids."""
        names, alive = batch.schema.names, self._survivors
        nobody = np.zeros(batch.num_rows, np.bool_)
        if alive is None or names.count("id") != 1:
            return nobody
        column = batch.column(names.index("id"))
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            return nobody
        return np.array([i is not None and bool(alive(i)) for i in column.to_pylist()], np.bool_)

    def _cells(self, leaf: Leaf, rows: _Rows) -> None:
        sieve = self._sieve

        def name(value: bytes) -> bytes | None:
            if sieve is not None and value not in sieve.strings:
                return None
            digest = self._hasher.of(value)
            return digest if digest in self._lookup else None

        for digest, at in cells(leaf, name):
            self._cell(leaf[0], digest, at, rows)
            if leaf[0] == "id" and Kind.ID in self._lookup[digest]:
                rows.ids |= dict.fromkeys(at.tolist(), digest)
        for vector, row in vectors(leaf, self._dim, None if sieve is None else sieve.firsts):
            if (digest := self._hasher.of(vector)) in self._lookup:
                self._cell(leaf[0], digest, np.array([row]), rows)

    def _cell(self, column: str, digest: bytes, at: npt.NDArray[np.int64], rows: _Rows) -> None:
        """Count the rows that hold one trace in one column."""
        for kind in self._lookup[digest]:
            never = kind is Kind.KEY or (kind is Kind.ID and column == "id")
            left = at if never else at[~rows.live[at]]
            self.tally.explained[kind] += len(at) - len(left)
            if len(left):
                rows.hit[left] = True
                self._see(kind, digest, len(left))

    def _inside(self, rows: _Rows) -> None:
        """Search rows of nobody; what stands in survivors' rows explains the file's bytes."""
        if self._needles is None:
            return
        for data in raw_bytes(rows.batch, ~rows.live & ~rows.hit):
            self._blame(self._within(data))
        if self._raw:
            for data in raw_bytes(rows.batch, rows.live & ~rows.hit):
                self._raw -= self._within(data)


def _is_word(source: bytes | None, words: Iterable[str]) -> bool:
    """Tell whether a needle is part of what the memory itself writes."""
    return source is not None and any(source in word.encode() for word in words)
