"""The verbs of a memory, and what it says to bad input."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from forgetnet import (
    AsyncMemory,
    EncoderMismatch,
    InvalidRecord,
    InvalidScope,
    Memory,
    Record,
    StoreCorrupt,
    StoreError,
    StoreLocked,
)

KEY = bytes(range(32))
HOSTILE = [
    "x' OR 1=1 --",
    'double " quote',
    "new\nline",
    "nul\0byte",
    "emoji 🧑‍🚒",
    "a" * 10_000,
    "../../etc",
    "العربية",
    "$eq",
]


@pytest.fixture(params=["lance", "memory"])
def url(request, tmp_path: Path) -> str:
    return str(tmp_path / "kb") if request.param == "lance" else "memory://"


@pytest.fixture
def memory(url: str):
    with Memory.open(url, encoder="hash:64", key=KEY) as opened:
        yield opened


def test_what_was_added_is_found_by_meaning_with_its_fields(memory):
    ids = memory.add(
        ["peanuts make me ill", "the ferry leaves at nine"],
        subject="ann",
        topic="health/allergies",
        metadata={"lang": "en"},
    )
    hit = memory.search("who is ill from peanuts", k=1)[0]
    assert (hit.id, hit.text, hit.subject) == (ids[0], "peanuts make me ill", "ann")
    assert (hit.topic, dict(hit.metadata)) == ("health/allergies", {"lang": "en"})
    assert 0.0 <= hit.distance < 1.0


def test_one_text_one_record_and_a_batch_are_all_accepted(memory):
    assert len(memory.add("one")) == 1
    assert memory.add(Record("two", id="b"), subject="bob") == ["b"]
    assert memory.get("b").subject == "bob"
    assert memory.add(["three", "four"], ids=["c", "d"]) == ["c", "d"]
    assert memory.add(iter(["five"])) != []
    assert memory.add([]) == []
    assert memory.count() == 5


def test_vectors_may_be_given_instead_of_text(memory):
    vectors = np.random.default_rng(0).standard_normal((3, 64))
    ids = memory.add(
        [Record(id=n, text=None, vector=v) for n, v in zip("abc", vectors, strict=True)]
    )
    assert [memory.search(v, k=1)[0].id for v in vectors] == ids
    assert memory.add("with a text too", vectors=[np.ones(64)]) != []
    back = memory.get("a", vector=True).vector
    assert np.allclose(back, vectors[0] / np.linalg.norm(vectors[0]), atol=1e-6)


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        (np.ones(3), "64"),
        (np.full(64, np.nan), "finite|NaN|nan"),
        (np.full(64, np.inf), "finite|inf"),
        (np.zeros(64), "zero"),
    ],
)
def test_a_wrong_vector_is_refused_and_nothing_is_stored(memory, vector, says):
    with pytest.raises(InvalidRecord, match=says):
        memory.add([Record("good"), Record("bad", vector=vector)])
    with pytest.raises(InvalidRecord, match=says):
        memory.search(vector)
    assert memory.count() == 0


def test_one_bad_record_stores_nothing_of_its_batch(memory):
    with pytest.raises(InvalidRecord, match="surrogate"):
        memory.add(["fine", "half \ud800 pair"])
    with pytest.raises(InvalidRecord, match="stored already"):
        memory.add(["a", "b"], ids=["x", "x2"]) and memory.add(["c", "d"], ids=["y", "x"])
    with pytest.raises(InvalidRecord, match="twice"):
        memory.add(["a", "b"], ids=["z", "z"])
    assert memory.count() == 2
    assert memory.get("y") is None


@pytest.mark.parametrize("topic", ["", "/a", "a//b", "a/", "1/2/3/4/5/6/7"])
def test_a_malformed_topic_is_refused(memory, topic):
    with pytest.raises(InvalidRecord, match="topic"):
        memory.add("text", topic=topic)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_names_only_itself(memory, name):
    memory.add(["one", "two"], ids=["keep", name], subject=name, topic="t")
    memory.add("other", subject="other", ids="other")
    assert memory.get(name).text == "two"
    assert memory.count({"subject": name}) == 2
    assert memory.search("two", k=1, subject=name)[0].id == name
    receipt = memory.forget(subject=name)
    assert receipt.status == "erased"
    assert [r.id for r in memory.get_all()] == ["other"]


def test_a_text_of_ten_megabytes_goes_in_and_out(memory):
    text = "spam and eggs 🥚 " * 700_000
    (i,) = memory.add(text)
    assert memory.get(i).text == text
    assert memory.forget(ids=i).status == "erased"
    assert memory.count() == 0


def test_an_empty_scope_is_an_error_never_everything(memory):
    memory.add("text")
    for scope in ({}, {"ids": []}, {"ids": ""}, {"subject": ""}, {"filter": {}}, {"topic": ""}):
        with pytest.raises(InvalidScope, match=r"never means everything|exactly one|empty"):
            memory.forget(**scope)
    with pytest.raises(InvalidScope, match="exactly one"):
        memory.forget(ids=["a"], subject="b")
    assert memory.count() == 1


def test_unknown_ids_are_reported_as_not_found(memory):
    (i,) = memory.add("text")
    done = memory.delete([i, "nobody"])
    assert (done.deleted, done.not_found) == ((i,), ("nobody",))
    receipt = memory.forget(ids=["nobody", "nothing"])
    assert receipt.status == "not_found"
    assert receipt.counts["not_found"] == 2
    with pytest.raises(InvalidRecord, match="no record has the id"):
        memory.update("nobody", "text")


def test_update_replaces_fields_and_embeds_new_text_anew(memory):
    (i,) = memory.add("a blue bicycle", subject="ann", metadata={"n": 1})
    created = memory.get(i).created_at
    memory.update(i, "seven green herons", topic="birds")
    record = memory.get(i)
    assert (record.text, record.subject, record.topic) == ("seven green herons", "ann", "birds")
    assert dict(record.metadata) == {"n": 1}
    assert record.created_at == created
    assert memory.search("seven green herons", k=1)[0].distance < 1e-6
    memory.update(i, topic=None)
    assert memory.get(i).topic is None
    with pytest.raises(InvalidRecord, match="topic"):
        memory.update(i, topic="a//b")
    assert memory.get(i).topic is None


def test_an_old_version_is_gone_from_the_files_after_the_next_forget(tmp_path):
    with Memory.open(tmp_path / "kb", encoder="hash:64", key=KEY) as memory:
        a, b = memory.add(["first version of this", "something else"], subject="ann")
        memory.update(a, "second version", subject="bob")
        memory.forget(ids=b)
        assert memory._store.files() != []
        for path in (tmp_path / "kb" / "store").rglob("*"):
            assert path.is_dir() or b"first version" not in path.read_bytes()


def test_search_stays_under_a_topic_and_leans_towards_one(memory):
    memory.add(["tea", "tea", "tea"], ids=["a", "b", "c"], topic="food/drinks")
    memory.add("tea", ids="d", topic="foodstuff")
    memory.add("tea", ids="e")
    assert {h.id for h in memory.search("tea", under="food")} == {"a", "b", "c"}
    assert {h.id for h in memory.search("tea", under="food/drinks")} == {"a", "b", "c"}
    near = memory.search("tea", near="foodstuff", weight=1.0)
    assert near[0].id == "d"
    assert len(near) == 5
    assert [h.distance for h in near] == sorted(h.distance for h in near)
    with pytest.raises(InvalidScope, match="weight"):
        memory.search("tea", near="food", weight=-1.0)


def test_an_expired_record_is_invisible_at_once_and_swept_when_asked(tmp_path):
    now = [datetime(2026, 5, 1, tzinfo=UTC)]
    with Memory.open(tmp_path / "kb", encoder="hash:64", clock=lambda: now[0]) as memory:
        memory.add("short lived", ids="a", expires_at=now[0] + timedelta(hours=1))
        memory.add("long lived", ids="b")
        assert memory.count() == 2
        now[0] += timedelta(hours=1)
        assert memory.count() == 1
        assert memory.get("a") is None
        assert [h.id for h in memory.search("short lived")] == ["b"]
        assert [r.id for r in memory.get_all()] == ["b"]
        assert memory.stats().expired == 1
        assert memory.sweep().counts["direct"] == 1
        assert memory.sweep().status == "not_found"
        assert memory.stats().expired == 0


def test_derived_records_go_too_also_when_their_source_was_deleted_before(memory):
    memory.add("source", ids="a", subject="ann")
    memory.add("summary", ids="b", derived_from="a")
    memory.add("summary of the summary", ids="c", derived_from=["b"])
    assert memory.get("c").derived_from == ("b",)
    memory.delete("a")
    receipt = memory.forget(ids="a")
    assert (receipt.status, receipt.counts["derived"]) == ("erased", 2)
    assert memory.count() == 0


def test_a_string_is_one_name_and_a_mapping_is_no_batch(memory):
    memory.add("ann is ill", ids="a", subject="bob", mentions="ann")
    assert memory.get("a").mentions == ("ann",)
    with pytest.raises(InvalidRecord, match="store a dict"):
        memory.add({"text": "hello", "subject": "ann"})
    with pytest.raises(InvalidScope, match="verify="):
        memory.forget(ids="a", verify="Full")
    for scope in ({"ids": [1]}, {"subject": 7}, {"topic": "a/"}, {"ids": "a", "reason": 7}):
        with pytest.raises(InvalidScope):
            memory.forget(**scope)
    assert memory.count() == 1


def test_a_record_with_only_a_vector_can_be_changed_and_so_can_an_expired_one(memory):
    memory.add(Record(id="v", text=None, vector=np.eye(1, 64)[0]))
    assert memory.update("v", topic="x").topic == "x"
    assert memory.search(np.eye(1, 64)[0], k=1)[0].distance == 0.0
    memory.add("old", ids="e", expires_at=datetime(2000, 1, 1, tzinfo=UTC))
    memory.update("e", expires_at=None)
    assert memory.get("e").text == "old"


def test_words_of_a_receipt_may_be_texts_too(memory):
    for word in ("full", "exact", "index", "erased", "rows", "ids"):
        memory.add(word, ids=f"the {word}", subject="ann")
        assert memory.forget(ids=f"the {word}").status == "erased"


def test_mentions_go_unless_told_otherwise(memory):
    memory.add("mine", ids="a", subject="ann")
    memory.add("ann said so", ids="b", subject="bob", mentions=["ann"])
    plan = memory.forget(subject="ann", dry_run=True)
    assert (plan.direct, plan.mentions) == (("a",), ("b",))
    assert memory.count() == 2
    receipt = memory.forget(subject="ann", mentions=False)
    assert (receipt.counts["mentions"], receipt.counts["mentions_kept"]) == (0, 1)
    assert [r.id for r in memory.get_all()] == ["b"]


def test_a_store_refuses_another_encoder_dimension_and_key(tmp_path):
    path = tmp_path / "kb"
    with Memory.open(path, encoder="hash:64") as memory:
        memory.add("text")
    with pytest.raises(EncoderMismatch, match="hash:64"):
        Memory.open(path, encoder="hash:32")
    with pytest.raises(StoreError, match="another key"):
        Memory.open(path, encoder="hash:64", key=KEY)
    with Memory.open(path) as memory:
        assert memory.encoder.dim == 64


def test_a_path_that_is_no_memory_is_refused_untouched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreCorrupt, match="other things"):
        Memory.open(tmp_path, encoder="hash:64")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(StoreCorrupt):
        Memory.open(tmp_path / "notes.txt", encoder="hash:64")
    with pytest.raises(StoreCorrupt):
        Memory.open(tmp_path / "none", encoder="hash:64", readonly=True)


def test_a_newer_format_is_refused_by_name(tmp_path):
    path = tmp_path / "kb"
    Memory.open(path, encoder="hash:64").close()
    settings = path / "forgetnet.json"
    settings.write_text(settings.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(StoreCorrupt, match="format 9"):
        Memory.open(path, encoder="hash:64")


def test_a_second_writer_is_told_who_holds_the_lock_and_a_reader_may_come(tmp_path):
    path = tmp_path / "kb"
    with Memory.open(path, encoder="hash:64") as writer:
        with pytest.raises(StoreLocked, match="process"):
            Memory.open(path, encoder="hash:64")
        with Memory.open(path, readonly=True) as reader:
            writer.add("news", ids="a", subject="ann")
            assert reader.get("a").text == "news"
            with pytest.raises(StoreError, match="readonly"):
                reader.add("no")
            with pytest.raises(StoreError, match="readonly"):
                reader.forget(subject="ann")
            writer.forget(subject="ann")
            assert reader.get("a") is None
            assert reader.search("news") == []


def test_repr_and_errors_never_show_the_text(memory):
    record = Record("secret words", id="a", subject="private person", topic="illness")
    hit_text = "secret words"
    memory.add(record)
    for shown in (repr(record), repr(memory.search("secret words")), repr(memory.get("a"))):
        assert hit_text not in shown
        assert "private" not in shown
        assert "illness" not in shown
    with pytest.raises(InvalidRecord) as caught:
        memory.add(record)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(memory.forget(subject="private person", dry_run=True))


def test_the_async_face_has_the_same_verbs(tmp_path):
    missing = {n for n in dir(Memory) if not n.startswith("_")} - set(dir(AsyncMemory))
    assert missing == set()

    async def story() -> None:
        async with await AsyncMemory.open(tmp_path / "kb", encoder="hash:64") as memory:
            await asyncio.gather(*(memory.add(f"text {n}", subject="ann") for n in range(8)))
            assert await memory.count() == 8
            assert len(await memory.search("text 3", k=3)) == 3
            receipt = await memory.forget(subject="ann")
            assert receipt.status == "erased"

    asyncio.run(story())
