"""Limits so small that some ten records take every way that millions take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache, partial
from importlib.metadata import entry_points

import pytest

from forgetnet import opening, store
from forgetnet.index import Index, flat, pivots, tiers
from forgetnet.index.tiers import Rung
from forgetnet.store import StoreConfig
from forgetnet_stores.lance import engine, fold

__all__ = ["SCAN", "SPLIT", "leaves_of", "small"]

SCAN, SPLIT = 6, 12


def leaves_of(cap: int) -> None:
    """Have new stores hold so many records of several subjects in a leaf, inside of ``small``."""
    opening.StoreConfig = partial(StoreConfig, cap=cap)


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Let few records cross all limits: of the index, of leaves, of tails, of large batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Index.__init__, "__kwdefaults__", {"scan": SCAN, "split": SPLIT})
        patch.setattr(tiers, "_FEWEST", 0)
        patch.setattr(tiers, "DEFAULT", Rung(0.1, 0.5, 1))
        patch.setattr(pivots, "PIVOTS", 4)
        patch.setattr(pivots, "_CHUNK", 8)
        patch.setattr(flat, "_BLOCK", 16)
        patch.setattr(flat, "_SPARE", 2)
        patch.setattr(opening, "StoreConfig", StoreConfig)  # `leaves_of` changes it
        patch.setattr(engine, "_LARGE", 10)
        patch.setattr(fold, "_TAIL_BYTES", 30_000)
        patch.setattr(fold, "_TAIL_FRAMES", 6)
        # Else the names of all packages are read for every twin.
        patch.setattr(store, "entry_points", cache(entry_points))
        yield
