"""Folding: laying leaves out anew, so that files hold exactly the live rows.

New pieces are written and fsynced, one manifest commits them, then the old files are shredded. A
crash before the commit leaves orphans of the new, after it orphans of the old; opening removes
either. Knows nothing of batches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import numpy as np

from forgetnet.files import shred, shred_tree, sync_tree
from forgetnet.shards import find, internal, leaves, regions
from forgetnet.store import Purged
from forgetnet_stores.lance.catalogue import Leaf, Manifest
from forgetnet_stores.lance.columns import Rows
from forgetnet_stores.lance.load import tail_path
from forgetnet_stores.lance.pieces import piece_path, write_piece
from forgetnet_stores.lance.state import State

__all__ = ["fold", "sweep"]


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
    fresh: list[Leaf] = []
    written = False
    try:
        for node, gone in old.items():
            for leaf in _lay_out(node, gone, now.cap):
                fresh.append(leaf)
                _write(state, leaf)
        sync_tree(piece_path(state.root, leaf.name) for leaf in fresh)
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
    """Split the live records (id to key) of leaves below a node into the node's new leaves."""
    members = {i: key for leaf in old for i, key in leaf.members.items()}
    counts: dict[str, int] = {}
    for leaf in old:
        counts |= leaf.keys
    found = {prefix: Leaf(prefix) for prefix in leaves(counts, cap, node)}
    inner = internal(found)
    home = {key: found[find(inner, key)] for key in counts}
    for i, key in members.items():
        home[key].join(i, key)
    return list(found.values())


def _write(state: State, leaf: Leaf) -> None:
    ids = list(leaf.members)
    content, place = state.table.vectors(ids)
    keys = np.array([state.keys[i] for i in ids], np.uint64)
    rows = Rows(keys, [state.table.records[i] for i in ids], content, place)
    path = piece_path(state.root, leaf.name)
    leaf.digest, leaf.piece_bytes = write_piece(path, rows)
    leaf.rows = len(ids)
