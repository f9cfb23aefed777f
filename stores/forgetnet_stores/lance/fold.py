"""Folding: laying leaves out anew, so that files hold exactly the live rows.

New pieces are written and fsynced, one manifest commits them, then the old files are shredded. A
crash before the commit leaves orphans of the new, after it orphans of the old; opening removes
either. Knows nothing of batches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from forgetnet.files import shred, shred_tree, sync_tree
from forgetnet.shards import find, internal, leaves, region
from forgetnet.store import Purged
from forgetnet_stores.lance.catalogue import Leaf, Manifest
from forgetnet_stores.lance.columns import Rows
from forgetnet_stores.lance.load import tail_path
from forgetnet_stores.lance.pieces import piece_path, write_piece
from forgetnet_stores.lance.state import State

__all__ = ["fold"]


def fold(state: State, prefixes: Sequence[str], commit: Callable[[Manifest], None]) -> Purged:
    """Write the regions around the given leaves anew from memory.

    Raises:
        OSError: a piece couldn't be written; nothing has changed.
    """
    now = state.manifest
    totals = {prefix: len(leaf.members) for prefix, leaf in now.leaves.items()}
    found = {region(totals, prefix, now.cap) for prefix in prefixes}
    regions = sorted(r for r in found if not any(r != o and r.startswith(o) for o in found))
    old = {
        prefix: leaf
        for prefix, leaf in now.leaves.items()
        if any(prefix.startswith(node) for node in regions)
    }
    fresh: list[Leaf] = []
    written = False
    try:
        for node in regions:
            members = {
                i: key
                for leaf in old.values()
                if leaf.prefix.startswith(node)
                for i, key in leaf.members.items()
            }
            for leaf in _lay_out(node, members, now.cap):
                fresh.append(leaf)
                _write(state, leaf)
        sync_tree(piece_path(state.root, leaf.name) for leaf in fresh)
        written = True
    finally:
        if not written:
            with contextlib.suppress(OSError):
                _shred(state.root, fresh)
    kept = {prefix: leaf for prefix, leaf in now.leaves.items() if prefix not in old}
    kept |= {leaf.prefix: leaf for leaf in fresh}
    after = Manifest(now.dim, now.cap, now.sequence, kept)
    commit(after)
    state.replace(after)
    _shred(state.root, old.values())
    return Purged(len(fresh), len(old), sum(leaf.piece_bytes for leaf in fresh))


def _lay_out(node: str, members: dict[str, str], cap: int) -> list[Leaf]:
    """Split live records (id to key) below a node into its leaves."""
    counts: dict[str, int] = {}
    for key in members.values():
        counts[key] = counts.get(key, 0) + 1
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


def _shred(root: Path, gone: Iterable[Leaf]) -> None:
    for leaf in gone:
        shred_tree(piece_path(root, leaf.name))
        shred(tail_path(root, leaf.name))
