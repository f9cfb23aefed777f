"""The flat index is exact, and a distance's bits know nothing of other rows."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.index import FlatIndex, contents
from forgetnet.index import flat as index
from forgetnet.store import PLACE_DIM, Floats, Near
from tests.contract.kit import places, some_cone, unit, vectors


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows do what takes many: fill a block, be too many to decide at once."""
    monkeypatch.setattr(contents, "_BLOCK", 64)
    monkeypatch.setattr(contents, "_READ", 24)
    monkeypatch.setattr(index, "_FEW", 20)
    monkeypatch.setattr(index, "_CHUNK", 48)
    monkeypatch.setattr(index, "_SPARE", 4)


def exact(content: Floats, ids: list[str], vector: Floats, k: int) -> list[tuple[str, float]]:
    products = content.astype(np.float64) * vector.astype(np.float64)
    found = sorted((1.0 - float(row.sum()), i) for row, i in zip(products, ids, strict=True))
    return [(i, distance) for distance, i in found[:k]]


def near_ties(rng: np.random.Generator, n: int, dim: int, step: float) -> Floats:
    """Draw unit vectors that float32 can hardly tell apart, some of them equal."""
    base = rng.standard_normal(dim)
    turned = base + step * rng.standard_normal((n, dim)).round(1)
    return unit(turned)


@settings(max_examples=120)
@given(
    n=st.integers(1, 200),
    k=st.integers(1, 220),
    dim=st.sampled_from([1, 2, 7, 8, 33]),
    step=st.sampled_from([0.0, 1e-8, 1e-5, 1.0]),
    seed=st.integers(0, 999),
)
def test_search_is_exact_through_ties(n: int, k: int, dim: int, step: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = near_ties(rng, n, dim, step)
    ids = [f"{i:03}" for i in rng.permutation(n)]
    flat = FlatIndex(dim)
    flat.add(ids, content, places(n))
    query = content[0] if seed % 2 else unit(rng.standard_normal(dim))
    wanted = exact(content, ids, query, k)
    assert flat.search(query, k) == wanted
    assert flat.search(query, k, without=["nobody"]) == wanted
    # the same through the path that scores what is allowed
    assert flat.search(query, k, only=ids) == wanted
    some = sorted(ids)[::2]
    rows = [ids.index(i) for i in some]
    assert flat.search(query, k, only=some) == exact(content[rows], some, query, k)


@settings(max_examples=40)
@given(seed=st.integers(0, 999), dim=st.sampled_from([3, 8, 384]))
def test_the_bits_of_a_distance_are_its_own(seed: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    n = 150
    content, ids = near_ties(rng, n, dim, 1e-3), [str(i) for i in range(n)]
    query = unit(rng.standard_normal(dim))
    whole = FlatIndex(dim)
    whole.add(ids, content, places(n))
    bits = dict(whole.search(query, n))
    turned = FlatIndex(dim)
    for i in rng.permutation(n).tolist():
        turned.add([ids[i]], content[i : i + 1], places(1))
    assert dict(turned.search(query, n)) == bits
    turned.remove(ids[: n - 5])
    assert dict(turned.search(query, n)) == {i: bits[i] for i in ids[n - 5 :]}
    alone = FlatIndex(dim)
    alone.add(ids[:1], content[:1], places(1))
    assert alone.search(query, 1) == [(ids[0], bits[ids[0]])]
    for k in (1, 2, 17, 100):
        assert whole.search(query, k) == sorted(bits.items(), key=lambda hit: (hit[1], hit[0]))[:k]


STEPS = st.lists(st.tuples(st.sampled_from(["add", "remove"]), st.integers(1, 90)), max_size=12)


@settings(max_examples=60)
@given(steps=STEPS, seed=st.integers(0, 99))
def test_any_history_answers_like_a_fresh_index(steps: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kept = FlatIndex(8)
    live: dict[str, tuple[Floats, Floats]] = {}
    serial = 0
    for verb, n in steps:
        if verb == "add":
            ids = [f"{serial + i}" for i in range(n)]
            serial += n
            content, place = vectors(n, serial), places(7, seed)[rng.integers(7, size=n)]
            kept.add(ids, content, place)
            live |= {i: (content[j], place[j]) for j, i in enumerate(ids)}
        else:
            gone = rng.permutation(sorted(live))[:n].tolist()
            kept.remove(gone)
            for i in gone:
                del live[i]
        assert len(kept) == len(live)
    fresh = FlatIndex(8)
    ids = sorted(live)
    if ids:
        fresh.add(ids, *(np.stack(m) for m in zip(*(live[i] for i in ids), strict=True)))
    query, cone = vectors(1, 5)[0], some_cone(seed, places(7, seed))
    near = Near(lambda place: np.abs(place).sum(axis=1).astype(np.float64), 0.2)
    for k in (1, 10, 500):
        assert kept.search(query, k) == fresh.search(query, k)
        assert kept.search(query, k, cone=cone) == fresh.search(query, k, cone=cone)
        assert kept.search(query, k, near=near) == fresh.search(query, k, near=near)
    assert kept.cone(cone) == fresh.cone(cone)
    content, place = kept.vectors(ids)
    assert [row.tobytes() for row in content] == [live[i][0].tobytes() for i in ids]
    assert [row.tobytes() for row in place] == [live[i][1].tobytes() for i in ids]
    check_holds_nothing_else(kept, live)


def check_holds_nothing_else(kept: FlatIndex, live: dict[str, tuple[Floats, Floats]]) -> None:
    """No array of the index holds a number that isn't a live row's."""
    n = len(live)
    memory = np.concatenate([np.zeros((0, 8), np.float32), *kept.contents._blocks])
    rows = tally(memory[:n])
    assert rows == tally(np.stack([c for c, _ in live.values()]) if n else memory[:0])
    assert not memory[n:].any()
    assert set(kept._ids) == set(kept._slots) == set(live)
    distinct = {place.tobytes() for _, place in live.values()}
    table = kept._places
    assert {row.tobytes() for row in table.values[table.rows > 0]} == distinct
    assert not table.values[table.rows == 0].any()
    assert table.rows.sum() == n
    assert set(table._codes) == distinct
    assert not kept._codes[n:].any()


def tally(rows: Floats) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for row in rows:
        found[row.tobytes()] = found.get(row.tobytes(), 0) + 1
    return found


def test_places_are_told_apart_by_their_bits() -> None:
    place = np.zeros((3, PLACE_DIM), np.float32)
    place[1] = -0.0
    place[2, 0] = np.float32(1e-45)
    flat = FlatIndex(8)
    flat.add(["a", "b", "c"], vectors(3), place)
    assert flat.vectors(["c", "b", "a"])[1].tobytes() == place[::-1].tobytes()
    flat.remove(["b"])
    assert flat.vectors(["a", "c"])[1].tobytes() == place[[0, 2]].tobytes()


def test_memory_shrinks_with_what_is_removed() -> None:
    flat = FlatIndex(8)
    flat.add([str(i) for i in range(640)], vectors(640), places(640))
    assert len(flat.contents._blocks) == 10
    flat.remove([str(i) for i in range(600)])
    assert len(flat.contents._blocks) <= 2


def test_threads_are_left_as_they_were() -> None:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        flat = FlatIndex(8)
        flat.add(["a"], vectors(1), places(1))
        flat.search(vectors(1)[0], 1)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


def test_an_empty_index_answers() -> None:
    flat = FlatIndex(8)
    query = vectors(1)[0]
    assert flat.search(query, 5) == []
    assert flat.search(query, 5, only=["a"]) == []
    assert flat.cone(some_cone(0, places(2))) == set()
    flat.add(["a"], vectors(1), places(1))
    flat.remove(["a"])
    assert flat.search(query, 5) == []
    assert flat.search(query, 5, cone=some_cone(0, places(2))) == []


def test_a_pull_is_asked_about_live_places_only() -> None:
    flat = FlatIndex(8)
    flat.add([str(i) for i in range(60)], vectors(60), places(60))
    flat.remove([str(i) for i in range(30)])
    live = {row.tobytes() for row in places(60)[30:]}
    asked: list[Floats] = []

    def distance(place: Floats) -> Any:
        asked.append(place)
        return np.ones(len(place))

    flat.search(vectors(1)[0], 3, near=Near(distance, 1.0))
    assert asked and {row.tobytes() for place in asked for row in place} <= live


@settings(max_examples=60)
@given(n=st.integers(1, 200), gone=st.integers(0, 200), seed=st.integers(0, 99))
def test_remove_tells_where_rows_went(n: int, gone: int, seed: int) -> None:
    flat = FlatIndex(8)
    ids = [f"{i}" for i in range(n)]
    flat.add(ids, vectors(n), places(n))
    before = dict(zip(range(n), flat.names(np.arange(n)), strict=True))
    out = np.random.default_rng(seed).permutation(ids)[:gone].tolist()
    freed = flat.slots(out).tolist()
    moved, where = flat.remove(out)
    after = {slot: i for slot, i in before.items() if slot not in freed}
    for old, new in zip(moved.tolist(), where.tolist(), strict=True):
        after[new] = after.pop(old)
    assert sorted(after) == list(range(len(flat)))
    assert flat.names(np.array(sorted(after), np.int64)) == [after[s] for s in sorted(after)]
    assert flat.slots([*out, "nobody"]).tolist() == []


@settings(max_examples=60)
@given(n=st.integers(1, 200), k=st.integers(1, 60), step=st.sampled_from([0.0, 1e-8, 1.0]))
def test_the_nearest_of_some_are_exact_through_ties(n: int, k: int, step: float) -> None:
    rng = np.random.default_rng(n)
    content = near_ties(rng, n, 33, step)
    ids = [f"{i:03}" for i in rng.permutation(n)]
    flat = FlatIndex(33)
    flat.add(ids, content, places(n))
    some = rng.permutation(n)[: n // 2 + 1]
    query = unit(rng.standard_normal(33))
    wanted = exact(content[some], [ids[i] for i in some], query, k)
    assert flat.nearest(query, some, k) == wanted
