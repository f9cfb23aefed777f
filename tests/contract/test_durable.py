"""What a durable engine keeps, what it really erases, and how processes share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from forgetnet.errors import StoreCorrupt, StoreError, StoreLocked
from forgetnet.store import Query, Store
from tests.contract import kit
from tests.contract.kit import config, fill, places, record, vectors
from tests.contract.process import Process, Refused

Open = Callable[..., Store]


@pytest.fixture(params=[e for e in kit.engines if e.decode], ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> kit.Engine:
    found: kit.Engine = request.param
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_delete_close_reopen_look(open_store: Open) -> None:
    store = open_store()
    records = [record(f"r{i}", subject=f"s{i % 9}") for i in range(100)]
    content, place = vectors(100), places(100)
    for start in range(0, 100, 10):
        part = slice(start, start + 10)
        store.add(records[part], content[part], place[part])
    gone = [f"r{i}" for i in range(0, 100, 7)]
    store.delete(gone)
    for purged in (False, True):
        before = store.digest(), store.state()
        store.close()
        store = open_store()
        assert (store.digest(), store.state()) == before
        assert store.get([r.id for r in records]) == {r.id: r for r in records if r.id not in gone}
        for path in store.capabilities.search_paths:
            hits = store.search(Query(content[0], 100), path)
            assert {id for id, _ in hits} == {r.id for r in records} - set(gone)
        if not purged:
            assert store.purge().pieces > 0
            assert store.purge().pieces == 0


def canary(n: int) -> str:
    return f"canary-{n:04}-" + "".join(np.random.default_rng(n).choice(list("abcdef"), 40))


@pytest.mark.parametrize("many", [5, 400], ids=["a few", "many at once"])
@pytest.mark.parametrize("by", ["delete", "replace"])
def test_purge_leaves_no_byte_of_a_canary(
    engine: kit.Engine, open_store: Open, home: Path, many: int, by: str
) -> None:
    assert engine.decode is not None
    store = open_store()
    stay = [record(f"stay{i}", subject=f"s{i}") for i in range(50)]
    fill(store, stay, seed=1)
    birds = [
        record(
            f"bird{n}",
            f"text {canary(n)}",
            subject=f"subject {canary(n % 3)}",
            topic=f"topic {canary(n)}",
            mentions=(f"mention {canary(n)}",),
            derived_from=(f"source {canary(n)}",),
            metadata={"key": canary(n), canary(n): [canary(n)]},
        )
        for n in range(many)
    ]
    content, place = fill(store, birds, seed=2), places(many, 2)

    def remains() -> set[str]:
        """What of the birds can still be found, decoded or in plain."""
        rows = engine.decode(home)
        found = {name for row in rows for name, value in row.items() if "canary-" in str(value)}
        found |= {"id" for row in rows if row.get("id", "").startswith("bird")}
        there = {np.float32(row["content"]).tobytes() for row in rows if "content" in row}
        found |= {"vector" for row in content if row.tobytes() in there}
        there = {np.float32(row["place"]).tobytes() for row in rows if "place" in row}
        found |= {"place" for row in place if row.tobytes() in there}
        plain = kit.bytes_below(home)
        found |= {"plain text"} if b"canary-" in plain else set()
        return found | ({"plain vector"} if any(r.tobytes() in plain for r in content) else set())

    fields = ["id", "text", "subject", "topic", "mentions", "derived_from", "metadata"]
    everything = {*fields, "vector", "place"}
    everything |= set() if engine.name == "sealed" else {"plain vector"}
    assert remains() >= everything
    ids = [r.id for r in birds]
    if by == "delete":
        store.delete(ids)
    else:
        fill(store, [record(i, "another text") for i in ids], seed=3, replace=True)
    if many == 5:
        assert remains() >= everything  # else this test would not show that a purge erases
    store.purge()
    assert remains() == ({"id"} if by == "replace" else set())
    assert {row["id"] for row in engine.decode(home)} == {r.id for r in store.scan()}
    assert store.count({"text": "another text"}) == (many if by == "replace" else 0)
    assert store.get([r.id for r in stay]) == {r.id: r for r in stay}


def test_purge_after_reopening_erases_too(engine: kit.Engine, open_store: Open, home: Path) -> None:
    assert engine.decode is not None
    store = open_store()
    fill(store, [record(f"r{i}", canary(i)) for i in range(30)])
    store.delete(["r3", "r4"])
    store.close()
    assert {"r3", "r4"} <= {row.get("id") for row in engine.decode(home)}
    store = open_store()
    assert store.purge().pieces > 0
    assert {row["id"] for row in engine.decode(home)} == {r.id for r in store.scan()}
    assert canary(3).encode() not in kit.bytes_below(home)


def test_a_reader_in_another_process_sees_each_change_at_its_next_call(
    engine: kit.Engine, open_store: Open, home: Path
) -> None:
    writer = open_store()
    fill(writer, [record(f"r{i}", subject=f"r{i}") for i in range(40)])
    with Process(engine, home, readonly=True) as reader:

        def agree() -> None:
            assert reader.do("ids") == sorted(r.id for r in writer.scan())
            assert reader.do("digest") == writer.digest()
            assert reader.do("state") == writer.state()
            for path in writer.capabilities.search_paths:
                wanted = writer.search(Query(vectors(1, 3)[0], 500), path)
                assert reader.do("search", 3, 500, path) == wanted

        agree()
        fill(writer, [record("new")], seed=1)
        agree()
        writer.delete(["r3", "new"])
        assert reader.do("texts", ["r3", "r4"]) == {"r4": "text of r4"}
        agree()
        fill(writer, [record("r5", "changed", subject="r5")], seed=2, replace=True)
        assert reader.do("texts", ["r5"]) == {"r5": "changed"}
        agree()
        writer.purge()
        agree()
        fill(writer, [record(f"m{i}", subject=f"m{i}") for i in range(300)], seed=4)
        agree()
        writer.delete([f"m{i}" for i in range(300)] + [f"r{i}" for i in range(20, 40)])
        agree()
        writer.purge()
        agree()
        writer.close()
        writer = open_store()
        fill(writer, [record("after")], seed=5)
        agree()
        with pytest.raises(Refused, match="readonly"):
            reader.do("add", ["x"], 0, {})
        with pytest.raises(Refused, match="readonly"):
            reader.do("delete", ["r5"])
        with pytest.raises(Refused, match="readonly"):
            reader.do("purge")


def test_a_reader_answers_from_one_state_where_it_says_so(
    engine: kit.Engine, open_store: Open, home: Path
) -> None:
    writer = open_store()
    fill(writer, [record(f"r{i}", subject=f"r{i}") for i in range(40)])
    reader = open_store(readonly=True)
    with reader.still():
        before = reader.digest(), sorted(r.id for r in reader.scan())
        writer.delete(["r3"])
        with reader.still():
            fill(writer, [record("new")], seed=1)
            assert (reader.digest(), sorted(r.id for r in reader.scan())) == before
        writer.purge()
        assert (reader.digest(), sorted(r.id for r in reader.scan())) == before
        query = Query(vectors(1, 3)[0], 50)
        assert {i for i, _ in reader.search(query)} == set(before[1])
    assert reader.digest() == writer.digest() != before[0]
    with writer.still():  # no other process changes what a writer knows
        writer.delete(["r4"])
        assert writer.count() == reader.count() == 39


def test_a_reader_never_sees_half_a_batch(engine: kit.Engine, open_store: Open, home: Path) -> None:
    open_store(cap=4).close()
    with Process(engine, home, cap=4) as writer:
        writer.start("pairs", 60)
        reader = engine.open(home, config(readonly=True))
        seen = set()
        while not writer.is_done():
            ids = {r.id for r in reader.scan()}
            assert {i[1:] for i in ids if i[0] == "a"} == {i[1:] for i in ids if i[0] == "b"}
            fresh = engine.open(home, config(readonly=True))
            again = {r.id for r in fresh.scan()}
            assert {i[1:] for i in again if i[0] == "a"} == {i[1:] for i in again if i[0] == "b"}
            seen |= ids
            fresh.close()
        assert writer.result() == 60
        assert sorted(r.id for r in reader.scan()) == writer.do("ids")
        assert len(seen) > 4
        reader.close()


def test_a_second_writer_is_told_who_writes(
    engine: kit.Engine, open_store: Open, home: Path
) -> None:
    with Process(engine, home) as writer:
        writer.do("add", ["a"], 0, {})
        with pytest.raises(StoreLocked, match=str(writer.pid)):
            open_store()
        beside = open_store(readonly=True)
        assert beside.count() == 1
        writer.kill()
    store = open_store()
    assert store.count() == 1
    with pytest.raises(StoreLocked):
        open_store()
    store.close()
    open_store().close()


@pytest.fixture
def strange(tmp_path: Path) -> Iterator[dict[str, Path]]:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "holiday.txt").write_text("mine")
    yield {
        "a file": tmp_path / "file",
        "a folder of other things": tmp_path / "folder",
        "below a file": tmp_path / "file" / "store",
        "with a NUL": tmp_path / "a\0b",
        "too long": tmp_path / ("long" * 2_500),
    }
    assert (tmp_path / "file").read_text() == "not a folder"
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["holiday.txt"]


@pytest.mark.parametrize(
    "what", ["a file", "a folder of other things", "below a file", "with a NUL", "too long"]
)
@pytest.mark.parametrize("readonly", [False, True])
def test_a_path_that_is_no_store_is_refused(
    engine: kit.Engine, strange: dict[str, Path], what: str, readonly: bool
) -> None:
    with pytest.raises(StoreError) as refused:
        engine.open(strange[what], config(readonly=readonly))
    assert "name a" in str(refused.value) or "no manifest" in str(refused.value)


def test_reading_what_was_never_made_is_refused(engine: kit.Engine, tmp_path: Path) -> None:
    with pytest.raises(StoreCorrupt):
        engine.open(tmp_path / "nowhere", config(readonly=True))
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreCorrupt):
        engine.open(tmp_path / "empty", config(readonly=True))
    engine.open(tmp_path / "empty", config()).close()


def test_another_length_of_vectors_is_refused(engine: kit.Engine, home: Path) -> None:
    engine.open(home, config()).close()
    with pytest.raises(StoreCorrupt, match="length"):
        engine.open(home, config(dim=9))
