"""Room on the disk: what a purge will take, set aside before it is promised.

A full disk mustn't strand a forget halfway. So a file of zeros holds as much as the largest region
takes that is written anew, and is given up when a step finds no room. Knows nothing of receipts.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path

from forgetnet.errors import StoreError
from forgetnet.files import is_full, reserve
from forgetnet.shards import regions
from forgetnet.store import Purged
from forgetnet_stores.lance.catalogue import Manifest
from forgetnet_stores.lance.fold import fold
from forgetnet_stores.lance.load import tail_path
from forgetnet_stores.lance.pieces import piece_path
from forgetnet_stores.lance.state import State

__all__ = ["files_of", "fold_dirty", "give_up", "remedy", "rewritten", "set_aside"]

_PIECE = 64 << 10  # what a piece takes beside its rows
_LEAST = 256 << 10


def rewritten(state: State, ids: Sequence[str]) -> list[list[str]]:
    """Return the leaves that a purge without ``ids`` would write anew, merged ones together."""
    live = {prefix: dict(leaf.keys) for prefix, leaf in state.manifest.leaves.items()}
    touched = {prefix for prefix, leaf in state.manifest.leaves.items() if leaf.dead}
    records = [r for i in dict.fromkeys(ids) if (r := state.table.records.get(i)) is not None]
    for prefix, group in state.group(records).items():
        touched.add(prefix)
        for key in group.keys:
            live[prefix][key] -= 1
            if not live[prefix][key]:
                del live[prefix][key]
    nodes = regions(live, touched, state.manifest.cap)
    return [[p for p in live if p.startswith(node)] for node in nodes]


def files_of(state: State, ids: Sequence[str] | None) -> list[Path]:
    """List the pieces and tails that hold any of ``ids``, or rows not purged yet; None for all."""
    leaves = state.manifest.leaves
    wanted = set(leaves) if ids is None else {p for n in rewritten(state, ids) for p in n}
    names = [leaves[prefix].name for prefix in sorted(wanted)] + state.leftovers
    paths = [find(state.root, name) for name in names for find in (piece_path, tail_path)]
    there = {name for part in ("pieces", "tails") for name in _listed(state.root / part)}
    return [path for path in paths if path.name in there]


def _listed(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):  # what copies files alone leaves out empty folders
        return [entry.name for entry in os.scandir(folder)]
    return []


def set_aside(state: State, ids: Sequence[str], size: int) -> None:
    """Hold room for the largest region that a purge without ``ids`` writes anew, and ``size`` more.

    Raises:
        StoreError: the disk hasn't got it.
    """
    leaves = state.manifest.leaves
    together = [[leaves[prefix] for prefix in region] for region in rewritten(state, ids)]
    sizes = [sum(f.piece_bytes + f.tail_bytes + _PIECE for f in region) for region in together]
    try:
        reserve(state.root / "reserve", max(sizes, default=0) + max(size, _LEAST))
    except OSError as error:
        raise StoreError(
            f"the disk of {state.root} has no room left to finish a forget: {error.strerror}; "
            "nothing was deleted; free some space"
        ) from error


def give_up(root: Path) -> bool:
    """Let go of the room that is held; tell whether there was any."""
    path = root / "reserve"
    if not path.exists():
        return False
    path.unlink()
    return True


def remedy(error: OSError) -> str:
    """Return what to do about an error in the middle of a purge."""
    if is_full(error):
        return "free some space and purge again"
    if error.errno in {errno.EBADMSG, errno.ENOENT}:  # what was written isn't there any more
        return "restore the store from a backup"
    return "see to it and purge again"


def fold_dirty(state: State, dirty: Sequence[str], commit: Callable[[Manifest], None]) -> Purged:
    """Write leaves with dead rows anew: all at once, or one by one where there isn't the room.

    One by one, the old files of each make room for the next.

    Raises:
        OSError: even one couldn't be written.
    """
    try:
        return fold(state, dirty, commit)
    except OSError as error:
        if not is_full(error):
            raise
    total = Purged()
    while some := [prefix for prefix, leaf in state.manifest.leaves.items() if leaf.dead][:1]:
        one = fold(state, some, commit)
        total = Purged(*(a + b for a, b in zip(astuple(total), astuple(one), strict=True)))
    return total
