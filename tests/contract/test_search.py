"""Search and filters over every engine and every path: exact, tied by id, and only what matches."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from forgetnet.errors import InvalidScope, Unsupported
from forgetnet.record import Record
from forgetnet.store import PLACE_DIM, Cone, Floats, Near, Query, Store
from tests.contract.kit import (
    DIM,
    NOW,
    Reference,
    fill,
    places,
    record,
    some_cone,
    unit,
    vectors,
)

Open = Callable[..., Store]
HOUR = timedelta(hours=1)


def people() -> list[Record]:
    """Sixty records with every field in several kinds."""
    tags: list[Any] = [None, "x", ["x", "y"], {"x": 1}, 3, 3.5, True, [True, 1]]
    return [
        record(
            f"r{i:02}",
            ["", "red", "red and blue", "bläu"][i % 4],
            subject=[None, "ann", "bob", "cid"][i % 4],
            topic=[None, "a", "a/b", "a/b/c", "a!", "ab"][i % 6],
            mentions=[(), ("ann",), ("ann", "bob")][i % 3],
            derived_from=() if i % 5 else (f"r{i - 1:02}",),
            metadata={} if i % 7 == 0 else {"tag": tags[i % 8], "n": i},
            created_at=NOW + i * HOUR,
            expires_at=None if i % 2 else NOW + i * HOUR,
        )
        for i in range(60)
    ]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


CASES: list[tuple[dict[str, Any], Callable[[Record], bool]]] = [
    ({"subject": "ann"}, lambda r: r.subject == "ann"),
    ({"subject": None}, lambda r: r.subject is None),
    ({"subject": {"$eq": "ann"}}, lambda r: r.subject == "ann"),
    ({"subject": {"$ne": "ann"}}, lambda r: r.subject != "ann"),
    ({"topic": {"$gt": "a"}}, lambda r: r.topic is not None and r.topic > "a"),
    ({"topic": {"$gte": "a/b", "$lt": "ab"}}, lambda r: bool(r.topic) and "a/b" <= r.topic < "ab"),
    ({"created_at": {"$lte": NOW + 9 * HOUR}}, lambda r: r.created_at <= NOW + 9 * HOUR),
    ({"created_at": {"$lt": NOW + 9 * HOUR}}, lambda r: r.created_at < NOW + 9 * HOUR),
    ({"expires_at": None}, lambda r: r.expires_at is None),
    ({"expires_at": {"$gt": NOW}}, lambda r: r.expires_at is not None and r.expires_at > NOW),
    ({"subject": {"$in": ["ann", "bob", "zoe"]}}, lambda r: r.subject in ("ann", "bob")),
    ({"subject": {"$in": []}}, lambda r: False),
    ({"subject": {"$in": [None, "ann"]}}, lambda r: r.subject in (None, "ann")),
    ({"subject": {"$nin": ["ann", None]}}, lambda r: r.subject not in ("ann", None)),
    ({"id": {"$in": ["r01", "r02", "zz"]}}, lambda r: r.id in ("r01", "r02")),
    ({"text": {"$contains": "red"}}, lambda r: "red" in (r.text or "")),
    ({"mentions": {"$contains": "bob"}}, lambda r: "bob" in r.mentions),
    ({"mentions": ["ann", "bob"]}, lambda r: r.mentions == ("ann", "bob")),
    ({"mentions": []}, lambda r: r.mentions == ()),
    ({"derived_from": {"$contains": "r04"}}, lambda r: "r04" in r.derived_from),
    ({"metadata.tag": "x"}, lambda r: r.metadata.get("tag") == "x"),
    ({"metadata.tag": None}, lambda r: r.metadata.get("tag") is None),
    ({"metadata.tag": ["x", "y"]}, lambda r: r.metadata.get("tag") == ["x", "y"]),
    ({"metadata.tag": {"$eq": {"x": 1}}}, lambda r: r.metadata.get("tag") == {"x": 1}),
    ({"metadata.tag": True}, lambda r: r.metadata.get("tag") is True),
    ({"metadata.tag": {"$eq": [1, 1]}}, lambda r: False),
    ({"metadata.tag": {"$gt": 2}}, lambda r: is_number(t := r.metadata.get("tag")) and t > 2),
    (
        {"metadata.tag": {"$contains": "x"}},
        lambda r: r.metadata.get("tag") in ("x", ["x", "y"], {"x": 1}),
    ),
    ({"metadata.n": {"$in": [3, 4.0, True]}}, lambda r: r.metadata.get("n") in (3, 4)),
    ({"metadata.none": {"$ne": 1}}, lambda r: True),
    ({"subject": "ann", "topic": "a"}, lambda r: r.subject == "ann" and r.topic == "a"),
    ({"subject": {"$not": {"$eq": "ann"}}}, lambda r: r.subject != "ann"),
    ({"metadata.n": {"$gt": 3, "$not": {"$gt": 9}}}, lambda r: 3 < r.metadata.get("n", 0) <= 9),
    ({"$not": {"subject": "ann"}}, lambda r: r.subject != "ann"),
    (
        {"$or": [{"subject": "ann"}, {"$and": [{"topic": "a"}, {"text": {"$contains": "b"}}]}]},
        lambda r: r.subject == "ann" or (r.topic == "a" and "b" in (r.text or "")),
    ),
    (
        {"$and": [{"$or": [{"subject": "ann"}, {"subject": "bob"}]}, {"$not": {"topic": None}}]},
        lambda r: r.subject in ("ann", "bob") and r.topic is not None,
    ),
    (
        {"$and": [{"subject": "ann"}, {"subject": {"$in": ["ann", "bob"]}}], "topic": "a/b/c"},
        lambda r: r.subject == "ann" and r.topic == "a/b/c",
    ),
]


@pytest.mark.parametrize("where, means", CASES, ids=[str(where)[:60] for where, _ in CASES])
def test_each_operator_means_what_it_says(
    store: Store, where: dict[str, Any], means: Callable[[Record], bool]
) -> None:
    records = people()
    content = fill(store, records)
    wanted = {r.id for r in records if means(r)}
    assert {r.id for r in store.scan(where)} == wanted
    assert store.count(where) == len(wanted)
    hits = store.search(Query(content[0], 60, where=where))
    assert {id for id, _ in hits} == wanted
    gone = sorted(wanted)[::2]
    store.delete(gone)
    assert {r.id for r in store.scan(where)} == wanted - set(gone)


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"colour": 1},
        {"metadata.": 1},
        {"metadata": {}},
        {"subject": {}},
        {"subject": {"$like": "a"}},
        {"subject": {"eq": "a"}},
        {"subject": {"$in": "ann"}},
        {"subject": {"$gt": None}},
        {"subject": {"$gt": ["a"]}},
        {"created_at": {"$gt": NOW.replace(tzinfo=None)}},
        {"created_at": {"$in": [NOW.replace(tzinfo=None)]}},
        {"created_at": {"$gt": NOW.date()}},
        {"metadata.n": np.int64(3)},
        {"metadata.n": {"$in": [np.int64(3)]}},
        {"subject": b"ann"},
        {"$and": []},
        {"$or": {}},
        {"$or": [{}]},
        {"$or": [None]},
        {"$not": {}},
        {"$nor": [{"subject": "ann"}]},
        ["subject"],
        "subject",
    ],
    ids=str,
)
def test_a_filter_that_would_mislead_is_refused(store: Store, where: Any) -> None:
    content = fill(store, people())
    for ask in (store.count, store.scan, lambda w: store.search(Query(content[0], where=w))):
        with pytest.raises(InvalidScope):
            ask(where)
    assert store.count() == 60


def test_a_filter_nested_without_end_is_refused(store: Store) -> None:
    fill(store, [record("a")])
    for wrap in (
        lambda w: {"$not": w},
        lambda w: {"$and": [w]},
        lambda w: {"subject": {"$not": w.get("subject", "x")}},
    ):
        where: dict[str, Any] = {"subject": "x"}
        for _ in range(5_000):
            where = wrap(where)
        with pytest.raises(InvalidScope, match="nested"):
            store.count(where)


@pytest.mark.parametrize("n", [1, 5, 60, 700])
def test_search_is_exact(open_store: Open, n: int) -> None:
    store = open_store(cap=256)
    records = [record(f"r{i}", subject=f"s{i % 11}") for i in range(n)]
    content, place = vectors(n), places(n)
    store.add(records, content, place)
    reference = Reference.of(records, content, place)
    rng = np.random.default_rng(3)
    for k in (1, 3, 10, n, n + 5):
        near_one = content[rng.integers(n)] + 1e-4 * rng.standard_normal(DIM)
        for vector in (*vectors(3, seed=k), unit(near_one), content[0]):
            query = Query(vector, k)
            wanted = reference.search(query)
            for path in store.capabilities.search_paths:
                assert store.search(query, path) == wanted


def test_ties_go_by_id_through_a_thousand_equals(open_store: Open) -> None:
    store = open_store(cap=256)
    rng = np.random.default_rng(0)
    ids = [f"{i:04}" for i in rng.permutation(1_000).tolist()]
    content = np.repeat(vectors(1), 1_000, axis=0)
    others = [record(f"other{i}") for i in range(50)]
    fill(store, others, seed=1)
    store.add([record(i, subject=i) for i in ids], content, places(1_000))
    for k in (1, 7, 100, 1_000):
        for path in store.capabilities.search_paths:
            hits = store.search(Query(content[0], k), path)
            assert [id for id, _ in hits] == sorted(ids)[:k]
            assert len({distance for _, distance in hits}) == 1
    store.delete(sorted(ids)[:500])
    for path in store.capabilities.search_paths:
        hits = store.search(Query(content[0], 3), path)
        assert [id for id, _ in hits] == ["0500", "0501", "0502"]


def test_what_float32_can_not_tell_apart_is_told_apart(open_store: Open) -> None:
    store = open_store(cap=256)
    base, turn = np.eye(DIM)[0], np.eye(DIM)[1]
    content = unit([base + (1e-5 + 1e-9 * i) * turn for i in range(200)])
    rng = np.random.default_rng(5)
    order = rng.permutation(200)
    records = [record(f"{i:03}") for i in order.tolist()]
    store.add(records, content[order], places(200))
    reference = Reference.of(records, content[order], places(200))
    for path in store.capabilities.search_paths:
        for vector in (unit(base), unit(base + 3e-5 * turn)):
            query = Query(vector, 20)
            assert store.search(query, path) == reference.search(query)


def distance_from(point: Floats) -> Callable[[Floats], npt.NDArray[np.float64]]:
    def distance(place: Floats) -> npt.NDArray[np.float64]:
        assert np.isfinite(place).all() and (place != 0).any(axis=1).all()
        squares = (place.astype(np.float64) - point.astype(np.float64)) ** 2
        return np.sqrt(squares.sum(axis=1))

    return distance


def test_every_mix_of_conditions_is_exact(open_store: Open) -> None:
    store = open_store(cap=256)
    records = people() * 1
    records += [record(f"more{i}", subject="ann", topic="a") for i in range(1_300)]
    n = len(records)
    content = vectors(n)
    place = places(n // 4)[np.arange(n) % (n // 4)]  # each place several times
    store.add(records, content, place)
    gone = [r.id for r in records[::17]]
    store.delete(gone)
    reference = Reference.of(records, content, place)
    for id in gone:
        del reference.rows[id]
    wheres: list[Any] = [None, {"subject": "ann"}, {"subject": {"$ne": "ann"}}, {"topic": "a/b"}]
    cones = [None, some_cone(1, place), some_cone(2, place, -4.0)]
    nears = [None, Near(distance_from(place[3]), 0.3), Near(distance_from(place[4]), 1e4)]
    times = [None, NOW + 20 * HOUR]
    query = vectors(1, seed=8)[0]
    for where, cone, near, at in itertools.product(wheres, cones, nears, times):
        for k in (3, 40):
            asked = Query(query, k, where, cone, near, at)
            assert store.search(asked) == reference.search(asked), (where, cone, near, at)


def test_expired_rows_are_left_out_on_every_path(store: Store) -> None:
    records = [
        record(f"r{i:02}", expires_at=None if i % 3 == 0 else NOW + i * HOUR) for i in range(40)
    ]
    content = fill(store, records)
    fill(store, [record("late", expires_at=NOW + 10 * HOUR)], seed=4)
    reference = Reference.of(records, content, places(40))
    reference.rows["late"] = (store.get(["late"])["late"], vectors(1, 4)[0], places(1, 4)[0])
    for hours in (-1, 0, 7, 10, 39):
        for microseconds in (0, 1):
            at = NOW + timedelta(hours=hours, microseconds=microseconds)
            query = Query(content[0], 50, at=at)
            for path in store.capabilities.search_paths:
                assert store.search(query, path) == reference.search(query)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_cones_agree_with_the_definition_on_every_path(open_store: Open, scale: float) -> None:
    store = open_store(cap=256)
    n = 500
    records = [record(f"r{i}", subject=f"s{i % 13}") for i in range(n)]
    place = (places(n) * scale).astype(np.float32)
    store.add(records, vectors(n), place)
    store.delete([f"r{i}" for i in range(0, n, 9)])
    reference = Reference.of(records, vectors(n), place)
    for i in range(0, n, 9):
        del reference.rows[f"r{i}"]
    for seed in range(6):
        for threshold in (0.0, scale, -scale):
            cone = some_cone(seed, place, threshold)
            for path in store.capabilities.search_paths:
                assert store.cone(cone, path) == reference.cone(cone)


def test_a_cone_is_decided_in_float64_at_its_very_edge(store: Store) -> None:
    edge = np.zeros((4, PLACE_DIM), np.float32)
    edge[:, 0] = 1000.0
    edge[0, 1] = np.float32(1000.0)  # on the edge: outside
    edge[1, 1] = np.nextafter(np.float32(1000.0), np.float32(2000.0))  # inside
    edge[2, 1] = np.nextafter(np.float32(1000.0), np.float32(0.0))  # outside
    query = np.zeros(PLACE_DIM)
    query[:2] = -1.0, 1.0
    apex = edge[3]  # far outside, and yet the apex
    store.add([record(c) for c in "abcd"], vectors(4), edge)
    for path in store.capabilities.search_paths:
        assert store.cone(Cone(query, 0.0, apex), path) == {"b", "d"}
        query[1] = 1.0 + 1e-9  # float32 would round it away
        assert store.cone(Cone(query, 0.0, apex), path) == {"a", "b", "d"}
        query[1] = 1.0


def test_paths_that_can_not_answer_say_so(store: Store) -> None:
    content = fill(store, people())
    for path in store.capabilities.search_paths[1:]:
        for query in (
            Query(content[0], where={"subject": "ann"}),
            Query(content[0], cone=some_cone(0, places(3))),
            Query(content[0], near=Near(distance_from(places(1)[0]), 1.0)),
        ):
            with pytest.raises(Unsupported):
                store.search(query, path)


def test_an_answer_depends_on_the_live_set_alone(open_store: Open) -> None:
    records = people()
    content, place = vectors(60), places(60)
    one, two = open_store("one"), open_store("two", cap=4)
    one.add(records, content, place)
    for i in reversed(range(60)):
        ghost = record("ghost", subject="ann")
        two.add([ghost], content[i : i + 1], place[i : i + 1])
        two.add([records[i]], content[i : i + 1], place[i : i + 1])
        two.delete(["ghost"])
    for vector in (*vectors(5, 7), *content[:5]):
        for k in (1, 10, 60):
            assert one.search(Query(vector, k)) == two.search(Query(vector, k))
