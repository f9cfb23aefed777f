"""Search by words and hybrid search through the memory: fused, filtered, and blind to what went."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet import AsyncMemory, InvalidRecord, InvalidScope, Memory, Record, reader
from forgetnet.retrieve import cone_of, fused
from forgetnet.store import Cone

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODES = ("vector", "text", "hybrid")
SAID = [
    "Ann paddles a red kayak",
    "Ben's kayak is blue",
    "tea at four with Zoë",
    "a red bicycle",
    "Ann and Ben drink tea",
]


class Clock:
    time = NOW

    def __call__(self) -> datetime:
        return self.time


def filled(clock: Clock) -> Memory:
    memory = Memory.open("memory://", encoder="hash:32", key=bytes(32), clock=clock)
    memory.add(
        [
            Record(
                text,
                id=f"r{i}",
                subject=["ann", "ben"][i % 2],
                topic=["boats", "boats/red", "food"][i % 3],
                expires_at=NOW + timedelta(hours=1) if i == 3 else None,
                metadata={"n": i},
            )
            for i, text in enumerate(SAID)
        ]
    )
    return memory


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock):
    with filled(clock) as opened:
        yield opened


def ids(hits) -> list[str]:
    return [hit.id for hit in hits]


def test_words_find_what_says_them_and_nothing_else(memory):
    hits = memory.search("KAYAK red", mode="text")
    assert ids(hits) == ["r0", "r1", "r3"] or ids(hits) == ["r0", "r3", "r1"]
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert all(h.distance is None and h.score > 0 for h in hits)
    assert (hits[0].text, hits[0].subject, hits[0].metadata) == (SAID[0], "ann", {"n": 0})
    assert memory.search("never said", mode="text") == []
    assert ids(memory.search("zoe", mode="text")) == ["r2"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_keeps_to_its_scope(memory, clock, mode):
    asked = "red kayak tea"
    assert set(ids(memory.search(asked, mode=mode))) == {f"r{i}" for i in range(5)}
    assert set(ids(memory.search(asked, mode=mode, subject="ben"))) == {"r1", "r3"}
    assert set(ids(memory.search(asked, mode=mode, under="boats"))) == {"r0", "r1", "r3", "r4"}
    assert set(ids(memory.search(asked, mode=mode, filter={"metadata.n": {"$gt": 2}}, k=2))) == {
        "r3",
        "r4",
    }
    assert len(memory.search(asked, mode=mode, k=2)) == 2
    clock.time = NOW + timedelta(hours=2)
    assert "r3" not in ids(memory.search(asked, mode=mode))


@pytest.mark.parametrize("mode", MODES)
def test_where_a_cone_takes_in_strangers_the_path_decides(memory, monkeypatch, mode):
    """And strangers take no rank from those who belong."""
    belonging = {"r0", "r1", "r3", "r4"}
    expected = memory.search("tea red kayak", mode=mode, filter={"id": {"$in": [*belonging]}})

    def wide(topic: str, salt: bytes) -> Cone:
        return replace(cone_of(topic, salt), threshold=-1e9)

    monkeypatch.setattr(reader, "cone_of", wide)
    for k in (1, 2, 9):
        assert memory.search("tea red kayak", mode=mode, under="boats", k=k) == expected[:k]


def test_a_hybrid_hit_has_the_fused_score_and_the_exact_distance(memory):
    asked = "red kayak"
    by_meaning = memory.search(asked, k=100)
    by_words = memory.search(asked, k=100, mode="text")
    hits = memory.search(asked, mode="hybrid")
    assert [(h.id, h.score) for h in hits] == fused(ids(by_meaning), ids(by_words))
    assert {h.id: h.distance for h in hits} == {h.id: h.distance for h in by_meaning}
    assert memory.search(asked, mode="hybrid", k=2) == hits[:2]


def test_what_only_the_words_brought_up_has_its_distance_too():
    """A hundred records are nearer in meaning than the one that says the word."""
    with Memory.open("memory://", encoder="hash:32", key=bytes(32)) as memory:
        [asked] = memory.encoder.encode(["zebra"], progress=False)
        memory.add([f"tea {i}" for i in range(120)], vectors=np.tile(asked, (120, 1)))
        memory.add("a zebra", ids="far", vectors=[-asked])
        hits = memory.search("zebra", mode="hybrid", k=3)
        far = next(hit for hit in hits if hit.id == "far")
        assert far.distance == pytest.approx(2.0)
        assert [replace(far, score=None)] == memory.search("zebra", filter={"id": "far"})


def test_near_pulls_a_hybrid_search_by_its_meaning(memory):
    plain = memory.search("zzz", mode="hybrid", k=1)
    pulled = memory.search("zzz", mode="hybrid", near="food", weight=9.0, k=1)
    assert pulled[0].topic == "food"
    assert pulled[0].distance == memory.search("zzz", near="food", weight=9.0, k=1)[0].distance
    assert plain[0].distance == memory.search("zzz", k=1)[0].distance


def test_meaning_alone_answers_as_ever(memory):
    hits = memory.search("red kayak")
    assert hits == memory.search("red kayak", mode="vector")
    assert all(hit.score is None for hit in hits)
    assert not memory._store.worded


@pytest.mark.parametrize("mode", MODES)
def test_what_was_forgotten_restricted_or_replaced_changes_no_answer(memory, mode):
    asked = "red kayak tea ann"
    memory.search(asked, mode=mode)
    memory.forget(ids=["r0"])
    memory.restrict(ids=["r4"], reason="disputed")
    memory.update("r1", "Ben's canoe is blue")
    with Memory.open("memory://", encoder="hash:32", key=bytes(32), clock=Clock()) as twin:
        twin.add([memory.get(i) for i in ("r3", "r2", "r1")])
        for k in (1, 9):
            for options in ({}, {"under": "boats"}, {"subject": "ben"}):
                found = memory.search(asked, mode=mode, k=k, **options)
                assert found == twin.search(asked, mode=mode, k=k, **options)
    assert "r4" not in ids(memory.search(asked, mode=mode))


def test_a_search_that_makes_no_sense_is_refused(memory):
    vector = np.ones(32)
    for mode in ("text", "hybrid"):
        with pytest.raises(InvalidRecord, match="takes a text"):
            memory.search(vector, mode=mode)
    with pytest.raises(InvalidScope, match="hybrid"):
        memory.search("tea", mode="text", near="food")
    with pytest.raises(InvalidScope, match="vector, text, hybrid"):
        memory.search("tea", mode="words")
    with pytest.raises(InvalidScope):
        memory.search("tea", mode="text", k=0)
    with pytest.raises(InvalidScope):
        memory.search("tea", mode="text", filter={"nonsense": 1})


def test_a_memory_of_vectors_alone_is_searched_by_the_words_that_it_has():
    with Memory.open("memory://", encoder="vectors:4") as memory:
        memory.add([Record(id="v", vector=np.eye(1, 4)[0])])
        memory.add("a red kayak", ids="t", vectors=np.eye(1, 4))
        assert ids(memory.search("kayak", mode="text")) == ["t"]
        assert memory.search("none", mode="text") == []


async def test_the_async_face_has_the_modes():
    async with await AsyncMemory.open("memory://", encoder="hash:32") as memory:
        await memory.add(SAID)
        (hit,) = await memory.search("zoe", mode="text")
        assert hit.text == SAID[2]


@given(rankings=st.lists(st.permutations("abcdef").flatmap(
    lambda p: st.integers(0, 6).map(lambda n: p[:n])), max_size=3))  # fmt: skip
def test_ranks_are_fused_by_their_reciprocals(rankings):
    found = fused(*rankings)
    assert {i for i, _ in found} == {i for ranking in rankings for i in ranking}
    for i, score in found:
        ranks = [ranking.index(i) + 1 for ranking in rankings if i in ranking]
        assert score == pytest.approx(sum(1 / (60 + rank) for rank in ranks))
    assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))
