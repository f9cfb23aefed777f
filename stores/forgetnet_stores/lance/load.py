"""Reading leaves back: a piece, then the frames of its tail in order.

Knows nothing of memory or search: files in, rows out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from forgetnet.errors import StoreCorrupt
from forgetnet.files import truncate_durable
from forgetnet.store import PLACE_DIM
from forgetnet_stores.lance.catalogue import Leaf, Manifest
from forgetnet_stores.lance.columns import DEAD, Rows, from_arrow
from forgetnet_stores.lance.pieces import piece_path, read_piece
from forgetnet_stores.lance.ring import Ring, opened
from forgetnet_stores.lance.tail import Frame, read_frames

__all__ = [
    "Reading",
    "cut_tails",
    "last_whole",
    "load_tail",
    "read_tail",
    "settled",
    "tail_path",
]


def tail_path(root: Path, name: str) -> Path:
    """Return the file of a tail."""
    return root / "tails" / f"{name}.tail"


def _concat(parts: list[Rows], dim: int) -> Rows:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        empty = np.zeros((0, dim), np.float32), np.zeros((0, PLACE_DIM), np.float32)
        return Rows(np.zeros(0, np.uint64), [], *empty)
    return Rows(
        np.concatenate([part.keys for part in parts]),
        [record for part in parts for record in part.records],
        np.concatenate([part.content for part in parts]),
        np.concatenate([part.place for part in parts]),
    )


def _alive(rows: Rows, dead: set[int]) -> Sequence[int]:
    keys = rows.keys.tolist()
    if dead.isdisjoint(keys):
        return range(len(keys))
    return [i for i, key in enumerate(keys) if key not in dead]


def _without(rows: Rows, dead: set[int]) -> Rows:
    alive = _alive(rows, dead)
    return rows if len(alive) == len(rows) else rows.take(alive)


def _merge(frames: Iterable[Frame], dim: int, ring: Ring | None) -> tuple[Rows, set[int]]:
    """Collect the rows that came and the keys that died; rows that did both are left out."""
    came: list[pa.Table] = []
    dead: set[int] = set()
    for frame in frames:
        table = frame.table()
        if table.schema.equals(DEAD):
            dead.update(table.column("dead").to_pylist())
        else:
            came.append(table)
    if not came:
        return _concat([], dim), dead
    table = pa.concat_tables(came)
    if ring is not None:  # the key of a dead row may be gone already
        ring.meet(table)
        table = _living(table, dead)
    table = opened(table, dim, ring)
    dead |= set() if ring is None else ring.lost
    return _without(from_arrow(table, dim), dead), dead


def _living(table: pa.Table, dead: set[int]) -> pa.Table:
    keys = table.column("key").to_pylist()
    alive = [i for i, key in enumerate(keys) if key not in dead]
    return table if len(alive) == len(keys) else table.take(pa.array(alive, pa.int64()))


def read_tail(root: Path, leaf: Leaf, start: int = 0) -> list[Frame]:
    """Read the frames of a leaf's tail from byte ``start``, whole batches and others.

    Raises:
        StoreCorrupt: bytes were changed, or cut off where the manifest knows better.
    """
    return list(read_frames(tail_path(root, leaf.name), start, leaf.tail_bytes))


def load_tail(root: Path, leaf: Leaf, dim: int, ring: Ring | None = None) -> tuple[Rows, set[int]]:
    """Read from its file what the live leaf's tail holds: rows that came, and keys that died."""
    frames = read_tail(root, leaf)
    return _merge([frame for frame in frames if frame.end <= leaf.tail_bytes], dim, ring)


def last_whole(base: int, frames: Iterable[Frame]) -> int:
    """Return the last batch that has all its parts, as have those before it back to ``base``."""
    parts: dict[int, set[int]] = {}
    wanted: dict[int, int] = {}
    for frame in frames:
        parts.setdefault(frame.sequence, set()).add(frame.part)
        wanted[frame.sequence] = frame.parts
    while base + 1 in wanted and len(parts[base + 1]) == wanted[base + 1]:
        base += 1
    return base


@dataclass(slots=True)
class Reading:
    """What a look at one leaf's files found that memory didn't know.

    Attributes:
        leaf: the leaf as the manifest has it.
        known: the same leaf in memory; None when its files are new.
        frames: frames of its tail past what is known; after ``let_go`` only where they lie.
        rows: live rows to take in; set by ``load``.
        dead: keys that died; set by ``load``.
        places: the first rows' numbers in the piece; set by ``load``.
    """

    leaf: Leaf
    known: Leaf | None
    frames: Sequence[Frame]
    rows: Rows | None = None
    dead: set[int] = field(default_factory=set)
    places: Sequence[int] = ()

    def load(self, root: Path, dim: int, until: int, ring: Ring | None = None) -> Rows:
        """Read the rows, unless they are read already, counting batches up to number ``until``.

        Raises:
            StoreCorrupt: a file's bytes are not those that were written.
        """
        if self.rows is None:
            self.rows = self._read(root, dim, until, ring)
        return self.rows

    def let_go(self) -> None:
        """Let go of all that was read, but for where frames lie."""
        self.rows = None
        self.frames = [replace(frame, payload=b"") for frame in self.frames]

    def _read(self, root: Path, dim: int, until: int, ring: Ring | None) -> Rows:
        leaf, frames = self.leaf, [f for f in self.frames if f.sequence <= until]
        leaf.tail_bytes = 0 if self.known is None else self.known.tail_bytes
        if frames:
            leaf.tail_bytes = frames[-1].end
        leaf.frames = len(frames)
        came, self.dead = _merge(frames, dim, ring)
        if self.known is not None or not leaf.rows:
            return came
        piece = read_piece(piece_path(root, leaf.name), dim, leaf.digest, ring)
        lost = set() if ring is None else ring.lost
        self.dead |= lost
        if len(piece) != leaf.rows and not lost:
            raise StoreCorrupt(
                f"piece {leaf.name} has {len(piece)} rows and the manifest says {leaf.rows}; "
                "restore the store from a backup"
            )
        self.places = _alive(piece, self.dead)
        if len(self.places) < len(piece):
            piece = piece.take(self.places)
        return _concat([piece, came], dim) if len(came) else piece


def settled(root: Path, manifest: Manifest, readings: Iterable[Reading]) -> int:
    """Return the last batch that counts, when nobody writes.

    Raises:
        StoreCorrupt: a batch is missing, so a tail was lost.
    """
    frames = [frame for reading in readings for frame in reading.frames]
    last = last_whole(manifest.sequence, frames)
    if any(frame.sequence > last + 1 for frame in frames):
        raise StoreCorrupt(
            f"batch {last + 1} of the store {root} is missing from its tails, and later ones are "
            "there; restore the store from a backup"
        )
    return last


def cut_tails(root: Path, readings: Iterable[Reading], last: int) -> None:
    """Zero and cut torn frames, and those of a batch after the ``last`` that counts."""
    for reading in readings:
        path = tail_path(root, reading.leaf.name)
        end = max((f.end for f in reading.frames if f.sequence <= last), default=0)
        if path.exists() and path.stat().st_size > end:
            truncate_durable(path, end)
