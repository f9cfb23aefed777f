"""Folding: laying leaves out anew, so that files hold exactly the live rows.

New pieces are written and fsynced, one manifest commits them, then the old files are shredded. A
crash before the commit leaves orphans of the new, after it orphans of the old; opening removes
either. Knows nothing of batches.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgetnet.files import shred, shred_tree, sync_dir
from forgetnet.record import id_hash
from forgetnet.shards import find, internal, leaves, regions
from forgetnet.store import Purged
from forgetnet_stores.lance.catalogue import Leaf, Manifest
from forgetnet_stores.lance.columns import Rows, gather, to_arrow
from forgetnet_stores.lance.crew import WRITERS
from forgetnet_stores.lance.laying import lay_piece
from forgetnet_stores.lance.load import tail_path
from forgetnet_stores.lance.pieces import piece_path, write_piece
from forgetnet_stores.lance.state import State

__all__ = ["Batch", "fold", "needs_fold", "overflows", "sweep"]

_TAIL_BYTES = 4 << 20
_TAIL_FRAMES = 256

Ints = npt.NDArray[np.int64]


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
        laid = _write(state, fresh, batch)
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
    for leaf, ids in zip(fresh, laid, strict=True):
        lay_piece(state, leaf, ids, range(len(ids)))
    replaced = [leaf.name for gone in old.values() for leaf in gone]
    state.leftovers += replaced
    with contextlib.suppress(OSError):
        sweep(state)
    return Purged(len(fresh), len(replaced), sum(leaf.piece_bytes for leaf in fresh))


def _write(state: State, fresh: Sequence[Leaf], batch: Batch | None) -> list[Sequence[str]]:
    """Write the pieces of leaves durably, gathering rows while other pieces are written.

    Returns the ids of each piece in the order of its rows.
    """
    records = () if batch is None else batch.rows.records
    positions = {record.id: i for i, record in enumerate(records)}
    come = None if batch is None else to_arrow(batch.rows)
    with state.crew.at_work():
        started: list[Future[Sequence[str]]] = []
        # Those that hold rows, so only a few at a time.
        gathered: deque[Future[Sequence[str]]] = deque()
        for leaf in fresh:
            known = [i for i in leaf.members if i not in positions] if positions else leaf.members
            if len(gathered) > WRITERS:
                gathered.popleft().result()
            rest = _rows(state, known) if known else None
            new = [i for i in leaf.members if i in positions] if positions else []
            chosen = np.fromiter(map(positions.__getitem__, new), np.int64, len(new))
            ids = new if rest is None else new + [record.id for record in rest.records]
            make = partial(_piece, ids, come, chosen, rest)
            started.append(state.crew.begin(_write_one, state, leaf, make))
            if known:
                gathered.append(started[-1])
        if batch is not None:
            batch.settle()
        laid = [future.result() for future in started]
    if fresh:
        sync_dir(state.root / "pieces")
    return laid


def _write_one(state: State, leaf: Leaf, make: Callable[[], pa.Table]) -> Sequence[str]:
    table = make()
    ids: Sequence[str] = table.column("id").to_pylist() if state.config.filed else []
    if state.ring is not None:
        table = state.ring.seal(table)
    leaf.digest, leaf.piece_bytes = write_piece(piece_path(state.root, leaf.name), table)
    leaf.rows = len(table)
    return ids


def _piece(ids: Sequence[str], come: pa.Table, chosen: Ints, rest: Rows | None) -> pa.Table:
    """Bring the chosen rows that came, and then the rest, into the canonical order."""
    order = _order(ids)
    if rest is None:
        return gather(come, chosen[order])
    if not len(chosen):
        return gather(to_arrow(rest), order)
    parts = [gather(come, chosen), to_arrow(rest)]
    return gather(pa.concat_tables(parts).combine_chunks(), order)


def _order(ids: Sequence[str]) -> Ints:
    """Return the positions of ids in the order of their hashes."""
    hashes = [id_hash(i) for i in ids]
    heads = np.frombuffer(b"".join(hashes), ">u8")[::4].astype(np.uint64)
    order = np.argsort(heads)
    if (np.diff(heads[order]) == 0).any():  # two hashes begin with the same eight bytes
        order = np.array(sorted(range(len(ids)), key=hashes.__getitem__))
    return order


def _rows(state: State, ids: Collection[str]) -> Rows:
    """Gather live rows, in the order in which they lie in memory."""
    ids = state.table.flat.sort(ids)
    records = list(map(state.table.records.__getitem__, ids))
    return Rows(state.table.tags(ids), records, *state.table.flat.vectors(ids))


def sweep(state: State) -> None:
    """Shred what no leaf names any more.

    Raises:
        OSError: something couldn't be shredded; it stays in ``state.leftovers``.
    """
    names, state.leftovers = state.leftovers, []

    def erase(name: str) -> None:
        done = False
        try:
            shred_tree(piece_path(state.root, name))
            shred(tail_path(state.root, name))
            done = True
        finally:
            if not done:
                state.leftovers.append(name)

    with state.crew.at_work():
        for future in [state.crew.begin(erase, name) for name in names]:
            future.result()


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


def needs_fold(leaf: Leaf, cap: int) -> bool:
    """Tell whether a leaf is to be laid out anew."""
    # One person's leaf may be large: what a fold writes must be paid for by what has come.
    many = leaf.frames > max(_TAIL_FRAMES, leaf.rows // 64)
    return many or overflows(leaf, cap, 0, len(leaf.keys), 0)


def overflows(leaf: Leaf, cap: int, come: int, keys: int, size: int) -> bool:
    """Tell whether a leaf is to be laid out anew if rows of so many bytes come into its tail."""
    if leaf.tail_bytes + size > max(_TAIL_BYTES, leaf.piece_bytes):
        return True
    return len(leaf.members) + come > cap and keys > 1
