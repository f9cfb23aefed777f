"""Slices of a leaf: what is learnt first, so that a deletion may leave it learnt.

Sharded, isolated, sliced and aggregated training (SISA, Bourtoule et al. 2021): a leaf is learnt
slice by slice with a checkpoint after each, and a deletion goes back to the last checkpoint that
never saw the record. A subject lies in one slice, named by the last bits of its key, so a slice
too is a function of the live set. Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Sequence

from forgetnet.experts.expert import View

__all__ = ["first_stale", "prefixes", "slice_of"]

_BITS = 16


def slice_of(key: str, count: int) -> int:
    """Return the slice of a subject from 0 to ``count`` - 1, by the last 16 bits of its key."""
    return int(key[-_BITS:], 2) * count >> _BITS


def prefixes(view: View, count: int) -> list[View]:
    """Return the records of the first slice, of the first two, and so on to all of them.

    A prefix may hold nothing, where all subjects of a small leaf lie in later slices.
    """
    if count == 1:
        return [view]
    where = [slice_of(key, count) for key in view.keys]
    return [view.take([i for i, own in enumerate(where) if own <= s]) for s in range(count)]


def first_stale(stages: Sequence[str], view: View, count: int) -> int:
    """Return the first stage that must be trained anew; ``count`` where none must.

    Args:
        stages: digests of the prefixes that the stored checkpoints were trained on.
        view: the records that they should be trained on.
        count: slices of the expert; checkpoints of another number of slices are all stale.
    """
    if len(stages) != count:
        return 0
    for number, (stored, prefix) in enumerate(zip(stages, prefixes(view, count), strict=True)):
        if stored != prefix.digest():
            return number
    return count
