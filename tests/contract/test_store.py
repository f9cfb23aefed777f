"""The verbs of a store, over every engine: what goes in, what comes out, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from forgetnet.errors import InvalidRecord, InvalidScope, StoreError, Unsupported
from forgetnet.record import Record, normalise
from forgetnet.store import PLACE_DIM, Query, Store
from tests.contract.kit import (
    DIM,
    HOSTILE,
    NOW,
    fill,
    places,
    record,
    unit,
    vectors,
)

Open = Callable[..., Store]
FULL = Record(
    text="all fields",
    id="full",
    subject="ann",
    topic="health/allergies",
    mentions=("bob", "cid"),
    derived_from=("one", "two"),
    metadata={"n": 1, "x": -0.5, "yes": True, "no": None, "deep": {"list": [1, "two", []]}},
    created_at=datetime(1999, 12, 31, 23, 59, 59, 999999, timezone(timedelta(hours=5.5))),
    expires_at=datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
)


def test_what_goes_in_comes_out(store: Store) -> None:
    records = [
        normalise(FULL, NOW),
        record("plain"),
        normalise(Record(text=None, id="only a vector", vector=np.ones(DIM, np.float32)), NOW),
        normalise(Record(text="", id="empty text"), NOW),
        record("ancient", created_at=datetime(1, 1, 1, tzinfo=UTC)),
    ]
    content, place = vectors(5), places(5)
    store.add(records, content, place)
    ids = [r.id for r in records]
    assert store.get(ids) == {r.id: r for r in records}
    assert store.get(["full"])["full"].created_at == FULL.created_at
    found = store.vectors(ids[::-1])
    assert found[0].tobytes() == content[::-1].tobytes()
    assert found[1].tobytes() == place[::-1].tobytes()
    assert found[0].dtype == found[1].dtype == np.float32
    assert store.count() == 5
    assert sorted(r.id for r in store.scan()) == sorted(ids)


def test_places_keep_their_bits(store: Store) -> None:
    place = np.zeros((3, PLACE_DIM), np.float32)
    place[1] = -0.0
    place[2, 3] = np.float32(1e-45)
    store.add([record(i) for i in "abc"], vectors(3), place)
    assert store.vectors(["a", "b", "c"])[1].tobytes() == place.tobytes()


def test_an_empty_store_answers(store: Store) -> None:
    assert store.count() == 0
    assert list(store.scan()) == []
    assert store.search(Query(vectors(1)[0])) == []
    assert store.get(["nobody"]) == {}
    assert store.delete(["nobody"]) == []
    assert store.delete([]) == []
    assert [len(part) for part in store.vectors([])] == [0, 0]
    store.add([], vectors(0), places(0))
    store.purge()
    assert store.count() == 0


def test_unknown_ids_are_left_out_or_named(store: Store) -> None:
    fill(store, [record("a")])
    assert list(store.get(["a", "b", "a"])) == ["a"]
    with pytest.raises(StoreError, match="'b'"):
        store.vectors(["a", "b"])


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values_are_only_values(store: Store, open_store: Open, value: str) -> None:
    bystanders = [record(f"b{i}", subject=f"s{i}", topic=f"t{i}") for i in range(20)]
    hostile = record(
        value,
        value,
        subject=value,
        topic=value.replace("/", "|"),
        mentions=(value,),
        derived_from=(value,),
        metadata={value: {"deep": [value]}},
    )
    fill(store, [*bystanders, hostile])
    assert store.get([value]) == {value: hostile}
    for where in (
        {"subject": value},
        {"id": {"$in": [value]}},
        {"text": {"$contains": value}},
        {"mentions": {"$contains": value}},
        {"derived_from": {"$contains": value}},
        {f"metadata.{value}": {"$eq": {"deep": [value]}}},
    ):
        assert [r.id for r in store.scan(where)] == [value]
        assert store.count(where) == 1
    if store.capabilities.durable:
        store.close()
        store = open_store()
        assert store.get([value]) == {value: hostile}
    for path in store.capabilities.search_paths:
        hits = store.search(Query(store.vectors([value])[0][0], 1), path)
        assert [id for id, _ in hits] == [value]
    assert store.delete([value]) == [value]
    store.purge()
    assert sorted(r.id for r in store.scan()) == sorted(r.id for r in bystanders)


def test_a_text_of_ten_megabytes(store: Store, open_store: Open) -> None:
    text = "ten megabytes, ümlauts and 🦉 " * 320_000
    assert len(text.encode()) > 10_000_000
    fill(store, [record("big", text, metadata={"copy": text[:100_000]}), record("small")])
    if store.capabilities.durable:
        store.close()
        store = open_store()
    assert store.get(["big"])["big"].text == text
    store.delete(["big"])
    store.purge()
    assert store.count() == 1


def test_a_batch_goes_in_whole_or_not_at_all(store: Store) -> None:
    fill(store, [record("a", subject="s")])
    before = store.digest()
    with pytest.raises(InvalidRecord, match="'b'"):
        fill(store, [record("b"), record("c"), record("b")])
    with pytest.raises(InvalidRecord, match="'a'"):
        fill(store, [record("b"), record("a")])
    many = [record(f"m{i}") for i in range(400)]
    with pytest.raises(InvalidRecord, match="'m7'"):
        fill(store, [*many, record("m7")])
    with pytest.raises(InvalidRecord, match="'m7'"):
        fill(store, [record("m7"), record("x"), record("m7")], replace=True)
    assert store.digest() == before
    assert store.count() == 1


def test_an_error_names_ids_and_never_text(store: Store) -> None:
    fill(store, [record("a", "secret text", subject="secret subject")])
    with pytest.raises(InvalidRecord) as refused:
        fill(store, [record("a", "secret text", subject="secret subject")])
    assert "secret" not in str(refused.value)


def _bad(kind: str) -> tuple[np.ndarray, np.ndarray]:
    content, place = vectors(2), places(2)
    if kind == "narrow":
        content = unit(content[:, :-1])
    elif kind == "wide":
        content = vectors(2, dim=DIM + 1)
    elif kind == "few":
        content = content[:1]
    elif kind == "few places":
        place = place[:1]
    elif kind == "flat":
        content = content.ravel()
    elif kind == "short":
        content[1] *= 0.5
    elif kind == "zero":
        content[1] = 0
    elif kind == "place nan":
        place[1, 0] = np.nan
    elif kind == "narrow place":
        place = place[:, 1:]
    else:
        content[1, 2] = float(kind)
    return content, place


@pytest.mark.parametrize(
    "kind",
    [
        "narrow",
        "wide",
        "few",
        "few places",
        "flat",
        "short",
        "zero",
        "nan",
        "inf",
        "-inf",
        "place nan",
        "narrow place",
    ],
)
def test_vectors_that_can_not_be_searched_are_refused(store: Store, kind: str) -> None:
    fill(store, [record("old")])
    before = store.digest()
    content, place = _bad(kind)
    with pytest.raises(InvalidRecord, match="nothing was stored"):
        store.add([record("a"), record("b")], content, place)
    assert store.digest() == before


def test_a_query_must_be_a_unit_vector(store: Store) -> None:
    fill(store, [record("a")])
    good = vectors(1)[0]
    bad = [good[:-1], good * 2, good * 0, good * np.nan, good[None], good * np.inf]
    for vector in bad:
        with pytest.raises(InvalidRecord):
            store.search(Query(vector))
    assert store.search(Query(good, 0)) == []
    assert store.search(Query(good, -3)) == []
    assert len(store.search(Query(good, 10**9))) == 1


def test_replace_takes_the_place_of_the_old(store: Store) -> None:
    old = [record(f"r{i}", subject=f"s{i}", topic="before") for i in range(10)]
    fill(store, old)
    new = replace(old[3], text="changed", subject="somebody else", topic="after")
    content, place = vectors(2, seed=5), places(2, seed=5)
    store.add([new, record("extra")], content, place, replace=True)
    assert store.count() == 11
    assert store.get(["r3"])["r3"] == new
    assert store.vectors(["r3"])[0].tobytes() == content[0].tobytes()
    assert [r.id for r in store.scan({"subject": "s3"})] == []
    assert store.count({"topic": "before"}) == 9
    for path in store.capabilities.search_paths:
        assert store.search(Query(content[0], 1), path)[0][0] == "r3"
        hits = store.search(Query(vectors(10)[3], 11), path)
        assert len({id for id, _ in hits}) == len(hits) == 11


def test_replacing_many_at_once(store: Store) -> None:
    fill(store, [record(f"r{i}", subject=f"s{i % 7}") for i in range(300)])
    new = [record(f"r{i}", "new", subject=f"s{i % 5}") for i in range(100, 400)]
    fill(store, new, seed=1, replace=True)
    assert store.count() == 400
    assert store.count({"text": "new"}) == 300
    assert store.get([r.id for r in new]) == {r.id: r for r in new}


def test_an_id_may_come_back_as_a_new_record(store: Store, open_store: Open) -> None:
    fill(store, [record("a", "first", subject="s"), record("b", subject="s")])
    assert store.delete(["a"]) == ["a"]
    content = fill(store, [record("a", "second", subject="t")], seed=3)
    for again in (False, True):
        if again and store.capabilities.durable:
            store.close()
            store = open_store()
        assert store.get(["a"])["a"].text == "second"
        assert store.count({"subject": "s"}) == 1
        assert store.vectors(["a"])[0].tobytes() == content.tobytes()
    store.purge()
    assert store.get(["a"])["a"].text == "second"
    assert store.count() == 2


def test_deleted_is_unreachable_at_once(store: Store) -> None:
    content = fill(store, [record(f"r{i}", subject=f"s{i % 3}") for i in range(30)])
    gone = ["r0", "r3", "r9"]
    assert store.delete([*gone, "never", "r0"]) == gone
    assert store.delete(gone) == []
    assert store.get(gone) == {}
    assert store.count() == 27
    assert store.count({"subject": "s0"}) == 7
    for path in store.capabilities.search_paths:
        for i in (0, 3, 9):
            hits = store.search(Query(content[i], 30), path)
            assert len(hits) == 27
            assert not {id for id, _ in hits} & set(gone)


def test_a_scan_is_of_one_moment(store: Store) -> None:
    fill(store, [record(f"r{i}") for i in range(5)])
    scan = store.scan()
    some = store.scan({"text": {"$contains": "text"}})
    store.delete(["r0", "r1"])
    assert len(list(scan)) == len(list(some)) == 5
    with pytest.raises(InvalidScope):
        store.scan({"nothing": 1})


def test_digests_tell_the_live_set_and_not_its_history(open_store: Open) -> None:
    records = [
        record(f"r{i}", subject=f"s{i % 4}", metadata={"i": i}, topic="t/u") for i in range(40)
    ]
    content, place = vectors(40), places(40)
    one = open_store("one")
    one.add(records, content, place)

    two = open_store("two", cap=4)
    other = [record(f"x{i}", subject=f"s{i}") for i in range(30)]
    fill(two, other, seed=9)
    for i in np.random.default_rng(1).permutation(40).tolist():
        two.add([records[i]], content[i : i + 1], place[i : i + 1])
        if i % 9 == 0:
            two.purge()
    assert two.digest() != one.digest()
    two.delete([r.id for r in other])
    assert two.digest() == one.digest()
    two.purge()
    assert two.digest() == one.digest()

    for change in ("text", "content", "place", "metadata", "expires"):
        three = open_store(f"three {change}")
        changed, c, p = list(records), content.copy(), place.copy()
        if change == "content":
            c[7] = unit(c[7] + np.eye(DIM)[0] * 1e-6)
            assert (c[7] != content[7]).any()
        elif change == "place":
            p[7, 0] = np.nextafter(p[7, 0], np.float32(9))
        elif change == "text":
            changed[7] = replace(records[7], text="text of r7 ")
        elif change == "metadata":
            changed[7] = replace(records[7], metadata={"i": 7.0})
        else:
            changed[7] = replace(records[7], expires_at=datetime(9999, 1, 1, 0, 0, 0, 1, UTC))
        three.add(changed, c, p)
        assert three.digest() != one.digest(), change


def test_microseconds_count_to_the_end_of_time(open_store: Open) -> None:
    late = [datetime(9999, 1, 1, 0, 0, 0, n, UTC) for n in (1, 2, 3)]
    digests = set()
    for n, moment in enumerate(late):
        store = open_store(str(n))
        fill(store, [record("a", expires_at=moment)])
        digests.add(store.digest())
        assert store.get(["a"])["a"].expires_at == moment
    assert len(digests) == 3


def test_the_state_names_every_change(store: Store) -> None:
    seen = {store.state()}
    fill(store, [record("a"), record("b")])
    seen.add(store.state())
    fill(store, [record("c")], seed=1)
    seen.add(store.state())
    store.delete(["a"])
    seen.add(store.state())
    assert len(seen) == 4
    assert store.state() in seen


def test_a_closed_store_refuses(store: Store) -> None:
    fill(store, [record("a")])
    store.close()
    store.close()
    asked = [
        lambda: store.get(["a"]),
        store.count,
        lambda: list(store.scan()),
        lambda: store.search(Query(vectors(1)[0])),
        lambda: fill(store, [record("b")]),
        lambda: store.delete(["a"]),
        store.purge,
        store.digest,
        store.state,
        store.files,
    ]
    for ask in asked:
        with pytest.raises(StoreError, match="closed"):
            ask()


def test_an_unknown_search_path_is_refused(store: Store) -> None:
    with pytest.raises(Unsupported, match="psychic"):
        store.search(Query(vectors(1)[0]), "psychic")


def test_capabilities_are_honest_about_files(store: Store) -> None:
    fill(store, [record("a"), record("b")])
    assert bool(store.files()) == store.capabilities.durable
    if not store.capabilities.durable:
        return
    everything = b"".join(
        f.read_bytes() for p in store.files() for f in [p, *p.rglob("*")] if f.is_file()
    )
    assert everything
    assert {p.exists() for p in store.files(["a"])} == {True}
