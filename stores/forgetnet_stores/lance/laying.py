"""Laying vectors down: telling the index where in the store's files they are, to the byte.

Only where a store is so configured; else nothing happens. The index looks at every bit before it
lets go of what it has. Knows nothing of what is in the files beside them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forgetnet.errors import StoreError
from forgetnet_stores.lance.catalogue import Leaf
from forgetnet_stores.lance.columns import DEAD
from forgetnet_stores.lance.load import tail_path
from forgetnet_stores.lance.pieces import piece_path, spots
from forgetnet_stores.lance.tail import Frame

if TYPE_CHECKING:
    from forgetnet_stores.lance.state import State

__all__ = ["lay_piece", "lay_tail"]


def lay_piece(state: State, leaf: Leaf, ids: Sequence[str], rows: Sequence[int]) -> None:
    """Read the vectors of live records from their leaf's piece from now on.

    Args:
        state: what is live.
        leaf: the leaf.
        ids: of records whose rows are in its piece.
        rows: their numbers there.

    Raises:
        StoreError: files can't be read, so that nobody knows these vectors.
    """
    if state.config.filed and ids:
        with _reading(state.root):
            path, starts = spots(piece_path(state.root, leaf.name), state.config.dim, leaf.rows)
            state.table.lay(ids, path, starts[np.asarray(rows, np.int64)])


def lay_tail(state: State, leaf: Leaf, frames: Iterable[Frame]) -> None:
    """Read the vectors of live records from their leaf's tail from now on.

    Where the tail can't be read they stay in memory, where they are until then.

    Args:
        state: what is live.
        leaf: the leaf.
        frames: of its tail, in which these vectors are; they are read only if so configured.
    """
    if not state.config.filed:
        return
    path, records = tail_path(state.root, leaf.name), state.table.records
    with contextlib.suppress(OSError):
        for frame in frames:
            table = frame.table()
            if table.schema.equals(DEAD):
                continue
            ids: list[str] = table.column("id").to_pylist()
            at = np.array([row for row, i in enumerate(ids) if i in records], np.int64)
            tags = state.table.tags([ids[row] for row in at.tolist()])
            at = at[tags == table.column("key").to_numpy()[at]]  # others came again later
            mine = [ids[row] for row in at.tolist()]
            state.table.lay(mine, path, frame.spots(table, "content")[at])


@contextlib.contextmanager
def _reading(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"can't read vectors in {root}: {error}; close the store and reopen it"
        ) from error
