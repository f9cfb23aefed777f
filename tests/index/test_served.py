"""A table with many records answers by codes, and exactly when a query says so."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from forgetnet import Memory, table
from forgetnet.index import FlatIndex, Index, tiers
from forgetnet.index.tiers import Rung
from forgetnet.store import Query
from forgetnet.table import Table
from tests.contract.kit import places, record, vectors


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setattr(table, "Index", partial(Index, scan=100, split=200))
    monkeypatch.setattr(tiers, "_FEWEST", 1)
    monkeypatch.setattr(tiers, "DEFAULT", Rung(0.0, 1, 1))
    found = Table(8, b"salt")
    found.add([record(f"{i:03}") for i in range(600)], vectors(600), places(600))
    return found


def test_a_query_decides_how_exact_its_answer_is(many: Table) -> None:
    exact: Any = FlatIndex(8)
    exact.add([f"{i:03}" for i in range(600)], vectors(600), places(600))
    missed = 0
    for vector in vectors(20, 5):
        true = exact.search(vector, 10)
        assert many.search(Query(vector, 10, recall_target=1.0)) == true
        served = many.search(Query(vector, 10))
        assert len(served) == 10
        missed += served != true
    assert missed
    assert many.flat.tier == "pivots"


def test_the_store_s_salt_keys_the_pivots(many: Table) -> None:
    other = Table(8, b"other")
    other.add(list(many.records.values()), *many.vectors(list(many.records)))
    assert many.flat.digest() != other.flat.digest()
    assert many.digest() == other.digest()
    assert np.isfinite(many.search(Query(vectors(1)[0], 1))[0][1])


def test_what_may_not_be_searched_steers_no_answer(many: Table) -> None:
    ids = list(many.records)
    many.search(Query(vectors(1)[0], 1))
    assert many.flat._coded is not None
    hidden = frozenset(many.flat._coded._names[:2])  # pivots, whose lists others are in
    rest: Any = FlatIndex(8)
    rest.add(kept := [i for i in ids if i not in hidden], *many.vectors(kept))
    for vector in vectors(20, 5):
        found = many.search(Query(vector, 10, without=hidden))
        assert found == rest.search(vector, 10)


def test_a_forget_isn_t_called_failed_for_what_a_search_among_many_misses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table, "Index", partial(Index, scan=100, split=200))
    monkeypatch.setattr(tiers, "_FEWEST", 1)
    monkeypatch.setattr(tiers, "DEFAULT", Rung(0.0, 0, 1))
    with Memory.open("memory://", encoder="hash:8") as memory:
        memory.add([f"{n} of many" for n in range(600)], ids=[f"{n:03}" for n in range(600)])
        ids = [f"{n:03}" for n in range(8)]
        rows = [memory.get(i, vector=True) for i in ids]
        served = [memory.search(row.vector) for row in rows if row is not None]
        assert any(i not in {hit.id for hit in hits} for i, hits in zip(ids, served, strict=True))
        assert memory.forget(ids=ids).status == "erased"
