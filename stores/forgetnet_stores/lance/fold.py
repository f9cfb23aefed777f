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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgetnet.files import shred, shred_tree, sync_dir
from forgetnet.record import id_hash
from forgetnet.shards import find, internal, leaves, regions
from forgetnet.store import Purged
from forgetnet_stores.lance.catalogue import Leaf, Manifest
from forgetnet_stores.lance.columns import Rows, to_arrow
from forgetnet_stores.lance.load import tail_path
from forgetnet_stores.lance.pieces import piece_path, write_piece
from forgetnet_stores.lance.state import State

__all__ = ["Batch", "fold", "sweep"]

# More than there are cores: most of a writer's time is waiting for the disk.
_WRITERS = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that the leaves count already, and ``settle``, which puts them into memory.

    ``settle`` is called while the disk is busy with pieces.
    """

    rows: Rows
    settle: Callable[[], None]


def fold(
    state: State,
    prefixes: Sequence[str],
    commit: Callable[[Manifest], None],
    batch: Batch | None = None,
) -> Purged:
    """Write the regions around the given leaves anew from memory.

    Files that couldn't be shredded after the commit stay in ``state.leftovers``.

    Args:
        state: what is live; it takes the new leaves after the commit.
        prefixes: the leaves that changed.
        commit: makes a manifest the one that counts.
        batch: rows on their way into memory, which are not gathered there.

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
        _write(state, fresh, batch)
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


def _write(state: State, fresh: Sequence[Leaf], batch: Batch | None) -> None:
    """Write the pieces of leaves durably, gathering rows while other pieces are written."""
    records = () if batch is None else batch.rows.records
    positions = {record.id: i for i, record in enumerate(records)}
    come = None if batch is None else to_arrow(batch.rows)
    with ThreadPoolExecutor(_WRITERS) as pool:
        started: list[Future[None]] = []
        gathered: deque[Future[None]] = deque()  # those that hold rows, so only a few at a time
        for leaf in fresh:
            ids = sorted(leaf.members, key=id_hash)
            chosen = np.fromiter((positions.get(i, -1) for i in ids), np.int64, len(ids))
            known = [i for i, at in zip(ids, chosen.tolist(), strict=True) if at < 0]
            if len(gathered) > _WRITERS:
                gathered.popleft().result()
            rest = _rows(state, known) if known else None
            started.append(pool.submit(_write_one, state.root, leaf, come, chosen, rest))
            if known:
                gathered.append(started[-1])
        if batch is not None:
            batch.settle()
        for future in started:
            future.result()
    if fresh:
        sync_dir(state.root / "pieces")


def _write_one(
    root: Path, leaf: Leaf, come: pa.Table, chosen: npt.NDArray[np.int64], rest: Rows | None
) -> None:
    """Write one piece of the chosen rows that came and, where there is a -1, of the rest."""
    if rest is None:
        table = come.take(chosen)
    elif come is None or len(rest) == len(chosen):
        table = to_arrow(rest)
    else:
        parts = pa.concat_tables([come.take(chosen[chosen >= 0]), to_arrow(rest)])
        table = parts.combine_chunks().take(np.argsort(np.argsort(chosen < 0, kind="stable")))
    leaf.digest, leaf.piece_bytes = write_piece(piece_path(root, leaf.name), table)
    leaf.rows = len(chosen)


def _rows(state: State, ids: Sequence[str]) -> Rows:
    """Gather live rows, in the order of ids."""
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
