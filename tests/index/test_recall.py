"""Codes find nearly all that an exact search finds, without looking everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forgetnet.index import Index
from forgetnet.index.codes import turned
from forgetnet.index.tiers import DEFAULT, LADDER
from forgetnet.store import PLACE_DIM, Floats
from tests.contract.kit import unit

DIM, ROWS = 128, 6000


def themes(n: int, seed: int) -> Floats:
    """Draw unit vectors around themes that are alike in part, as those of texts are."""
    rng = np.random.default_rng(0)
    broad = unit(rng.standard_normal((12, DIM)))
    narrow = unit(broad[rng.integers(12, size=150)] + 0.9 * unit(rng.standard_normal((150, DIM))))
    rng = np.random.default_rng(seed)
    return unit(narrow[rng.integers(150, size=n)] + 0.8 * unit(rng.standard_normal((n, DIM))))


def made(split: float) -> Index:
    index = Index(DIM, b"salt", scan=1, split=split)
    places = np.zeros((ROWS, PLACE_DIM), np.float32)
    index.add([f"{i}" for i in range(ROWS)], themes(ROWS, 1), places)
    index.settle()
    return index


@pytest.mark.parametrize(("split", "least"), [(math.inf, 0.995), (1, 0.97)])
def test_held_out_queries_find_what_they_should(split: float, least: float) -> None:
    index = made(split)
    found = total = 0
    for query in themes(100, 2):
        exact = {i for i, _ in index.search(query, 10, recall_target=1.0)}
        found += len(exact & {i for i, _ in index.by_codes(query, 10)})
        total += len(exact)
    assert found / total >= least
    assert index.recall() >= least
    assert index.recall(LADDER[-1]) >= 0.99


def test_only_lists_of_near_pivots_are_looked_through() -> None:
    coded = made(1)._coded
    assert coded is not None and coded.pivots > 30
    looked = [
        len(coded._codes.within(turned(query), 0, DEFAULT.window)) for query in themes(100, 2)
    ]
    assert 1 < np.mean(looked) < coded.pivots / 2
