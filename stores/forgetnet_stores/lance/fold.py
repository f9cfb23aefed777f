"""Folding: laying leaves out anew, so that files hold exactly the live rows.

New pieces are written and fsynced, one manifest commits them, then the old files are shredded. A
crash before the commit leaves orphans of the new, after it orphans of the old; opening removes
either. Knows nothing of batches.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from forgetnet.files import shred, shred_tree, sync_dir
from forgetnet.record import id_hash
from forgetnet.shards import find, internal, leaves, regions
from forgetnet.store import Purged
from forgetnet_stores.lance.catalogue import Leaf, Manifest
from forgetnet_stores.lance.columns import Rows
from forgetnet_stores.lance.load import tail_path
from forgetnet_stores.lance.pieces import piece_path, write_piece
from forgetnet_stores.lance.state import State

__all__ = ["fold", "sweep"]

# More than there are cores: most of a writer's time is waiting for the disk.
_WRITERS = 4


def fold(state: State, prefixes: Sequence[str], commit: Callable[[Manifest], None]) -> Purged:
    """Write the regions around the given leaves anew from memory.

    Files that couldn't be shredded after the commit stay in ``state.leftovers``.

    Raises:
        OSError: a piece or the manifest couldn't be written; nothing has changed.
        StoreError: nobody can tell whether the new manifest stands; memory has the old one.
    """
    now = state.manifest
    nodes = regions({p: leaf.keys for p, leaf in now.leaves.items()}, prefixes, now.cap)
    old: dict[str, list[Leaf]] = {node: [] for node in nodes}
    kept: dict[str, Leaf] = {}
    for prefix, leaf in now.leaves.items():
        node = next((prefix[:i] for i in range(len(prefix) + 1) if prefix[:i] in old), None)
        if node is None:
            kept[prefix] = leaf
        else:
            old[node].append(leaf)
    fresh = [leaf for node, gone in old.items() for leaf in _lay_out(node, gone, now.cap)]
    written = False
    try:
        _write(state, fresh)
        written = True
    finally:
        if not written:
            _give_up(state, fresh)
    after = Manifest(now.dim, now.cap, now.sequence, kept | {f.prefix: f for f in fresh})
    try:
        commit(after)
    except OSError:
        _give_up(state, fresh)
        raise
    state.replace(after)
    replaced = [leaf.name for gone in old.values() for leaf in gone]
    state.leftovers += replaced
    with contextlib.suppress(OSError):
        sweep(state)
    return Purged(len(fresh), len(replaced), sum(leaf.piece_bytes for leaf in fresh))


def _write(state: State, fresh: Sequence[Leaf]) -> None:
    """Write the pieces of leaves durably, gathering rows while other pieces are written."""
    with ThreadPoolExecutor(_WRITERS) as pool:
        waiting: deque[Future[None]] = deque()
        for leaf in fresh:
            if len(waiting) > _WRITERS:
                waiting.popleft().result()
            rows = _rows(state, leaf)
            waiting.append(pool.submit(_write_one, state.root, leaf, rows))
        for future in waiting:
            future.result()
    if fresh:
        sync_dir(state.root / "pieces")


def _write_one(root: Path, leaf: Leaf, rows: Rows) -> None:
    leaf.digest, leaf.piece_bytes = write_piece(piece_path(root, leaf.name), rows)
    leaf.rows = len(rows)


def _rows(state: State, leaf: Leaf) -> Rows:
    """Gather the live rows of a leaf, in the order of their id hashes."""
    ids = sorted(leaf.members, key=id_hash)
    keys = np.fromiter(map(state.keys.__getitem__, ids), np.uint64, len(ids))
    records = list(map(state.table.records.__getitem__, ids))
    return Rows(keys, records, *state.table.flat.vectors(ids))


def sweep(state: State) -> None:
    """Shred what no leaf names any more.

    Raises:
        OSError: something couldn't be shredded; it stays in ``state.leftovers``.
    """
    while state.leftovers:
        name = state.leftovers[-1]
        shred_tree(piece_path(state.root, name))
        shred(tail_path(state.root, name))
        state.leftovers.pop()


def _give_up(state: State, fresh: Sequence[Leaf]) -> None:
    state.leftovers += [leaf.name for leaf in fresh]
    with contextlib.suppress(OSError):
        sweep(state)


def _lay_out(node: str, old: Sequence[Leaf], cap: int) -> list[Leaf]:
    """Split the live records of leaves below a node into the node's new leaves."""
    counts = {key: n for leaf in old for key, n in leaf.keys.items()}
    found = {prefix: Leaf(prefix) for prefix in leaves(counts, cap, node)}
    inner = internal(found)
    homes = {}
    for key, n in counts.items():
        home = found[find(inner, key)]
        home.keys[key] = n
        homes[key] = home.members
    for leaf in old:
        for i, key in leaf.members.items():
            homes[key][i] = key
    return list(found.values())
