"""A table with many records answers by codes, and exactly when a query says so."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet import ForgetNet, Memory, NeighbourExpert, Record, table
from forgetnet.fallback.rows import live_rows
from forgetnet.index import FlatIndex, Index, tiers
from forgetnet.index.tiers import Rung
from forgetnet.store import Floats, Query
from forgetnet.table import Table
from forgetnet_stores.memory import MemoryStore
from tests.contract.kit import NOW, config, places, record, unit, vectors


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows be served by codes, and badly."""
    monkeypatch.setattr(table, "Index", partial(Index, scan=100, split=200))
    monkeypatch.setattr(tiers, "_FEWEST", 1)
    monkeypatch.setattr(tiers, "DEFAULT", Rung(0.0, 1, 1))


@pytest.fixture
def many(small_limits: None) -> Table:
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


def close(n: int, of: Floats, seed: int) -> Floats:
    """Draw unit vectors that are nearly the same as one."""
    rng = np.random.default_rng(seed)
    return unit(of + 0.02 * rng.standard_normal((n, len(of))))


@pytest.mark.usefixtures("small_limits")
def test_a_plan_misses_no_near_duplicate_and_names_none_that_has_expired() -> None:
    alike = close(8, vectors(1, 9)[0], 1)
    now = [NOW]
    told = {"encoder": "vectors:8", "key": bytes(range(32)), "clock": lambda: now[0]}
    with Memory.open("memory://", **told) as memory:
        memory.add([Record(id=f"{i:03}", vector=v) for i, v in enumerate(vectors(600))])
        ends = [None, NOW + timedelta(hours=1)]
        some = [Record(id=f"a{i}", vector=v, expires_at=ends[i % 2]) for i, v in enumerate(alike)]
        memory.add(some)
        assert memory._store._table.flat.tier == "pivots"
        served = {hit.id for hit in memory.search(alike[0], k=8)}
        assert served != {record.id for record in some}  # else the answer was exact by luck
        plan = memory.forget(ids="a0", dry_run=True)
        assert set(plan.near) >= {f"a{i}" for i in range(1, 8)}
        now[0] += timedelta(hours=2)
        plan = memory.forget(ids="a0", dry_run=True)
        assert {i for i in plan.near if i.startswith("a")} == {"a2", "a4", "a6"}


@pytest.mark.usefixtures("small_limits")
def test_a_model_answers_from_exactly_the_nearest_rows_that_teach() -> None:
    rows, ids = vectors(600), [f"{i:03}" for i in range(600)]
    with ForgetNet.open("memory://", encoder="vectors:8", experts=[NeighbourExpert(k=5)]) as net:
        net.partial_fit(rows, [f"{i % 3}" for i in range(600)], ids=ids)
        for vector in vectors(20, 5):
            cosines = rows.astype(np.float64) @ vector.astype(np.float64)
            found = {i for i, *_ in net.explain(vector[None]).neighbours}
            assert found == {ids[i] for i in np.argsort(-cosines)[:5]}


@pytest.mark.usefixtures("small_limits")
def test_what_a_memory_puts_beside_a_lesson_owes_nothing_to_the_past() -> None:
    content, place = vectors(900), places(900)
    ids = [f"{i:03}" for i in range(900)]
    stores = [MemoryStore(Path(), config()) for _ in range(2)]
    stores[0].add([record(i) for i in ids], content, place)
    live_rows(stores[0], ids[:9], 4)
    stores[0].delete(ids[400:])
    stores[1].add([record(i) for i in ids[399::-1]], content[399::-1], place[399::-1])
    one, other = (live_rows(store, ids[:400], 4).context for store in stores)
    assert [[r.id for r in near] for near in one] == [[r.id for r in near] for near in other]


def test_what_may_not_be_searched_steers_no_answer(many: Table) -> None:
    ids = list(many.records)
    many.search(Query(vectors(1)[0], 1))
    assert many.flat._coded is not None
    hidden = frozenset(many.flat._coded._names[:2])  # pivots, whose lists others are in
    rest, exact = Index(8, scan=100, split=np.inf), FlatIndex(8)
    kept = [i for i in ids if i not in hidden]
    for index in (rest, exact):
        index.add(kept, *many.vectors(kept))
    missed = 0
    for vector in vectors(20, 5):
        found = many.search(Query(vector, 10, without=hidden))
        assert found == rest.search(vector, 10)
        true = exact.search(vector, 10)
        missed += found != true
        for target in (0.5, 1.0):  # what was measured was measured of the hidden ones, too
            query = Query(vector, 10, without=hidden, recall_target=target)
            assert many.search(query) == true
    assert missed  # else all of these were exact


def test_so_many_that_may_not_be_searched_that_few_are_left_steer_nothing(many: Table) -> None:
    for left in (560, 300, 99, 30, 10, 3, 0):
        hidden = frozenset(list(many.records)[left:])
        rest = Index(8, scan=100, split=np.inf)
        rest.add(kept := list(many.records)[:left], *many.vectors(kept))
        for vector in vectors(5, 5):
            assert many.search(Query(vector, 10, without=hidden)) == rest.search(vector, 10)


def test_a_forget_isn_t_called_failed_for_what_a_search_among_many_misses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table, "Index", partial(Index, scan=100, split=200))
    monkeypatch.setattr(tiers, "_FEWEST", 1)
    monkeypatch.setattr(tiers, "DEFAULT", Rung(0.0, 0, 1))
    # The key chooses the pivots, and with some keys nothing is missed.
    with Memory.open("memory://", encoder="hash:8", key=bytes(range(32))) as memory:
        memory.add([f"{n} of many" for n in range(600)], ids=[f"{n:03}" for n in range(600)])
        ids = [f"{n:03}" for n in range(8)]
        rows = [memory.get(i, vector=True) for i in ids]
        served = [memory.search(row.vector) for row in rows if row is not None]
        assert any(i not in {hit.id for hit in hits} for i, hits in zip(ids, served, strict=True))
        assert memory.forget(ids=ids).status == "erased"
