"""Limits so small that some ten records take every way that millions take."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from functools import cache, partial
from importlib.metadata import entry_points

import pytest

from forgetnet import opening, store
from forgetnet.index import Index, contents, flat, pivots, tiers
from forgetnet.index.contents import Filed, Resident
from forgetnet.index.tiers import Rung
from forgetnet.store import StoreConfig
from forgetnet_stores.lance import engine, fold

__all__ = ["SCAN", "SPLIT", "holds_only_live_rows", "leaves_of", "one_list", "small"]

SCAN, SPLIT = 6, 12


def leaves_of(cap: int) -> None:
    """Have new stores hold so many records of several subjects in a leaf, inside of ``small``."""
    opening.StoreConfig = partial(StoreConfig, cap=cap)


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Let few records cross all limits: of the index, of leaves, of tails, of large batches."""
    with pytest.MonkeyPatch.context() as patch:
        limits = {"scan": SCAN, "split": SPLIT, "filed": False}
        patch.setattr(Index.__init__, "__kwdefaults__", limits)
        patch.setattr(tiers, "_FEWEST", 0)
        patch.setattr(tiers, "DEFAULT", Rung(0.1, 0.5, 1))
        patch.setattr(pivots, "PIVOTS", 4)
        patch.setattr(pivots, "_CHUNK", 8)
        patch.setattr(contents, "_BLOCK", 16)
        patch.setattr(contents, "_READ", 7)
        patch.setattr(flat, "_SPARE", 2)
        patch.setattr(opening, "StoreConfig", StoreConfig)  # `leaves_of` changes it
        patch.setattr(engine, "_LARGE", 10)
        patch.setattr(fold, "_TAIL_BYTES", 30_000)
        patch.setattr(fold, "_TAIL_FRAMES", 6)
        # Else the names of all packages are read for every twin.
        patch.setattr(store, "entry_points", cache(entry_points))
        yield


@contextlib.contextmanager
def one_list() -> Iterator[None]:
    """Let new indexes have no pivots, inside of ``small``."""
    with pytest.MonkeyPatch.context() as patch:
        told = dict(Index.__init__.__kwdefaults__)
        patch.setattr(Index.__init__, "__kwdefaults__", told | {"split": math.inf})
        yield


def holds_only_live_rows(index: Index) -> int:
    """See that an index holds nothing past its rows; return how many vectors are in memory."""
    held = index.contents
    if isinstance(held, Filed):
        assert not held._where[len(index) :].any() and max(held._young, default=-1) < len(index)
        return held.resident
    assert isinstance(held, Resident)
    for start, block in enumerate(held._blocks):
        assert not block[max(0, len(index) - start * len(block)) :].any()
    return len(index)
