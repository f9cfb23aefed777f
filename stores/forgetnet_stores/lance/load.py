"""Reading leaves back: a piece, then the frames of its tail in order.

Knows nothing of memory or search: files in, rows out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from forgetnet.errors import StoreCorrupt
from forgetnet.files import truncate_durable
from forgetnet.store import PLACE_DIM
from forgetnet_stores.lance.catalogue import Leaf, Manifest
from forgetnet_stores.lance.columns import DEAD, Rows, from_arrow
from forgetnet_stores.lance.pieces import piece_path, read_piece
from forgetnet_stores.lance.tail import Frame, read_frames

__all__ = ["load_leaf", "load_tail", "repair_tails", "tail_path"]


def tail_path(root: Path, name: str) -> Path:
    """Return the file of a tail."""
    return root / "tails" / f"{name}.tail"


def _concat(parts: list[Rows], dim: int) -> Rows:
    if not parts:
        empty = np.zeros((0, dim), np.float32), np.zeros((0, PLACE_DIM), np.float32)
        return Rows(np.zeros(0, np.uint64), [], *empty)
    return Rows(
        np.concatenate([part.keys for part in parts]),
        [record for part in parts for record in part.records],
        np.concatenate([part.content for part in parts]),
        np.concatenate([part.place for part in parts]),
    )


def _without(rows: Rows, dead: set[int]) -> Rows:
    keys = rows.keys.tolist()
    if dead.isdisjoint(keys):
        return rows
    return rows.take([i for i, key in enumerate(keys) if key not in dead])


def load_tail(root: Path, leaf: Leaf, dim: int) -> tuple[Rows, set[int]]:
    """Read a leaf's tail: the rows that came, and the keys that died, in piece or tail."""
    came: list[Rows] = []
    dead: set[int] = set()
    for frame in read_frames(tail_path(root, leaf.name)):
        leaf.tail_bytes = frame.end
        if frame.table.schema.equals(DEAD):
            dead.update(frame.table.column("dead").to_pylist())
        else:
            came.append(from_arrow(frame.table, dim))
    return _without(_concat(came, dim), dead), dead


def load_leaf(root: Path, leaf: Leaf, dim: int) -> Rows:
    """Read the live rows of a leaf, and note its dead ones and its tail's size.

    Raises:
        StoreCorrupt: a file's bytes are not those that were written.
    """
    leaf.tail_bytes = 0
    came, leaf.dead = load_tail(root, leaf, dim)
    if not leaf.rows:
        return came
    rows = read_piece(piece_path(root, leaf.name), dim, leaf.digest)
    if len(rows) != leaf.rows:
        raise StoreCorrupt(
            f"piece {leaf.name} has {len(rows)} rows and the manifest says {leaf.rows}; restore "
            "the store from a backup"
        )
    return _concat([_without(rows, leaf.dead), came], dim)


def repair_tails(root: Path, manifest: Manifest) -> int:
    """Cut torn frames, and whole frames of batches that never became whole; return the last batch.

    A batch after the manifest's sequence number counts only if all its parts are there.
    """
    found: dict[int, list[tuple[Path, Frame]]] = {}
    last = manifest.sequence
    for leaf in manifest.leaves.values():
        path = tail_path(root, leaf.name)
        end = 0
        for frame in read_frames(path):
            end = frame.end
            if frame.sequence > manifest.sequence:
                found.setdefault(frame.sequence, []).append((path, frame))
        if path.exists() and path.stat().st_size > end:
            truncate_durable(path, end)
    for sequence, parts in sorted(found.items()):
        if len({frame.part for _, frame in parts}) == parts[0][1].parts:
            last = max(last, sequence)
            continue
        for path, frame in sorted(parts, key=lambda item: -item[1].start):
            truncate_durable(path, frame.start)
    return last
