"""Search by words over every engine: of the live set alone, filtered, and followed by readers."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet.errors import InvalidScope
from forgetnet.record import Record
from forgetnet.store import Store, TextQuery
from forgetnet.words import Words
from forgetnet_stores.memory import MemoryStore
from tests.contract import kit
from tests.contract.kit import HOSTILE, NOW, config, fill, places, record, some_cone
from tests.contract.process import Process

Open = Callable[..., Store]
HOUR = timedelta(hours=1)
SAID = ["red kayak", "the red tea", "blue kayak, red kayak", "tea", "", "Tee für Zoë"]
QUESTIONS = ["red", "kayak tea", "the zoe fur", "red red tea", "nothing of this", ""]


def people(n: int = 60) -> list[Record]:
    return [
        record(
            f"r{i:02}",
            SAID[i % len(SAID)],
            subject=[None, "ann", "bob"][i % 3],
            expires_at=None if i % 4 else NOW + i * HOUR,
            metadata={"n": i},
        )
        for i in range(n)
    ]


def never_saw(store: Store) -> Store:
    """Build a fresh store from what is live in another, the other way round."""
    live = sorted(store.scan(), key=lambda r: r.id, reverse=True)
    twin = MemoryStore(Path(), config())
    if live:
        twin.add(live, *store.vectors([r.id for r in live]))
    return twin


def answers(store: Store) -> list[list[tuple[str, float]]]:
    return [store.words(TextQuery(q, k)) for q in QUESTIONS for k in (1, 3, 99)]


def pages(store: Any) -> bytes:
    """Read every page of the index of words that a store holds in memory."""
    table = store._table if isinstance(store, MemoryStore) else store._state.table
    words: Words = table._words
    assert words._index is not None
    data: bytes = words._index._run.__self__.serialize()
    return data


@pytest.mark.parametrize("early", [True, False])
def test_words_answer_as_a_store_that_never_saw_what_is_gone(open_store: Open, early: bool) -> None:
    """Whether the index was there from the start, or is made at the end."""
    store = open_store()

    def step() -> bool:
        return not early or answers(store) == answers(never_saw(store))

    assert step()
    fill(store, people())
    assert step()
    store.delete(["r00", "r07", "r14"])
    assert step()
    fill(store, [record("r01", "a red kite"), record("new", "tea")], 1, replace=True)
    assert step()
    store.purge()
    assert step()
    store.delete([r.id for r in store.scan({"subject": "bob"})])
    fill(store, [record(f"m{i}", f"tea {i}") for i in range(300)], 2)
    assert answers(store) == answers(never_saw(store))
    assert any(answers(store))
    store.delete([r.id for r in store.scan()])
    assert not any(answers(store))


def test_words_answer_the_same_after_reopening(engine: kit.Engine, open_store: Open) -> None:
    if not engine.name.startswith("lance"):
        pytest.skip("nothing outlives its process")
    store = open_store()
    fill(store, people())
    store.delete(["r00"])
    before = answers(store)
    assert store.worded
    store.close()
    store = open_store()
    assert not store.worded
    assert answers(store) == before


def test_only_what_matches_comes_and_k_of_it_while_there_are(store: Store) -> None:
    records = people()
    fill(store, records)
    by_id = {r.id: r for r in records}
    cone = some_cone(5, places(60))
    inside = store.cone(cone)
    assert 5 < len(inside) < 55
    wheres = [None, {"subject": "ann"}, {"metadata.n": {"$gte": 50}}, {"id": "r02"}]
    options = list(itertools.product(wheres, [None, cone], [None, NOW + 9 * HOUR]))
    for question in QUESTIONS:
        every = store.words(TextQuery(question, 99))
        for where, cone_, at in options:
            matching = {r.id for r in store.scan(where)}
            kept = [
                (i, score)
                for i, score in every
                if i in matching
                and (cone_ is None or i in inside)
                and not (at and by_id[i].expires_at and by_id[i].expires_at <= at)
            ]
            for k in (1, 4, 99):
                assert store.words(TextQuery(question, k, where, cone_, at)) == kept[:k]
    assert store.words(TextQuery("red", 0)) == []
    with pytest.raises(InvalidScope):
        store.words(TextQuery("red", where={"nonsense": 1}))


def test_what_is_left_out_counts_in_no_score(store: Store) -> None:
    """As if it weren't stored; and it is found again when it is no longer left out."""
    fill(store, people())
    before = answers(store)
    hidden = frozenset({"r00", "r07", "r08", "never"})
    twin = never_saw(store)
    twin.delete(sorted(hidden))
    for question in QUESTIONS:
        asked = TextQuery(question, 99, without=hidden)
        assert store.words(asked) == twin.words(TextQuery(question, 99))
    store.add(*_same(store, "r07"), replace=True)
    store.delete(["r08"])
    twin = never_saw(store)
    twin.delete(sorted(hidden))
    for question in QUESTIONS:
        asked = TextQuery(question, 99, without=hidden)
        assert store.words(asked) == twin.words(TextQuery(question, 99))
    fill(store, [record("r08", SAID[8 % len(SAID)])])
    assert answers(store) == answers(never_saw(store)) == before


def _same(store: Store, id: str) -> Any:
    return list(store.get([id]).values()), *store.vectors([id])


def test_words_of_hostile_texts_are_found_and_let_go(store: Store) -> None:
    texts = {**HOSTILE, "large": "tea " * 2_500_000}
    fill(store, [record(name, text + " kayak") for name, text in texts.items()])
    assert {i for i, _ in store.words(TextQuery("kayak", 99))} == set(texts)
    for name, text in texts.items():
        assert name in {i for i, _ in store.words(TextQuery(text + " kayak", 99))}
        store.delete([name])
        assert name not in {i for i, _ in store.words(TextQuery(text + " kayak", 99))}
    assert answers(store) == answers(never_saw(store))


def test_a_record_without_text_is_not_found_by_words(store: Store) -> None:
    wordless = kit.normalise(Record(id="v", vector=np.eye(1, kit.DIM)[0]), NOW)
    fill(store, [wordless, record("a", "none tea")])
    assert store.words(TextQuery("none tea v")) == store.words(TextQuery("tea none"))
    assert [i for i, _ in store.words(TextQuery("none"))] == ["a"]
    store.delete(["v"])
    assert answers(store) == answers(never_saw(store))


def test_a_purge_overwrites_the_words_in_memory(engine: kit.Engine, open_store: Open) -> None:
    # A word is kept as what it adds to the one before it: all but the first letter, here.
    tails = [f"xylophones{letter}" for letter in string.ascii_lowercase]
    store = open_store()
    fill(store, [record(f"r{i:02}", f"tea {tail[-1]}{tail}") for i, tail in enumerate(tails)])
    store.words(TextQuery("tea"))
    beside = open_store(readonly=True) if store.capabilities.readers else store
    beside.words(TextQuery("tea"))
    assert all(tail.encode() in pages(store) for tail in tails)
    store.delete([f"r{i:02}" for i in range(25)])
    store.purge()
    assert beside.words(TextQuery("tea")) == store.words(TextQuery("tea"))
    for one in (store, beside):
        assert [tail for tail in tails if tail.encode() in pages(one)] == tails[-1:]


def test_a_search_by_words_touches_no_file(
    engine: kit.Engine, open_store: Open, tmp_path: Path
) -> None:
    store = open_store()
    fill(store, people())
    looks = []
    for _ in range(2):
        looks.append({p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")})
        answers(store)
    assert looks[0] == looks[1]


def test_a_reader_in_another_process_follows_by_words(
    engine: kit.Engine, open_store: Open, tmp_path: Path
) -> None:
    writer = open_store()
    if not writer.capabilities.readers:
        pytest.skip("nobody else can read")
    fill(writer, people())
    with Process(engine, tmp_path / "store", readonly=True) as reader:

        def agree() -> None:
            for question in QUESTIONS:
                asked = TextQuery(question, 99)
                assert reader.do("words", asked) == writer.words(asked)

        agree()
        fill(writer, [record("new", "kayak")], 1)
        agree()
        writer.delete(["r02", "new"])
        agree()
        fill(writer, [record("r05", "a red change")], 2, replace=True)
        agree()
        writer.purge()
        agree()
        fill(writer, [record(f"m{i}", f"tea {i}", subject=f"m{i}") for i in range(300)], 4)
        agree()
        writer.delete([f"m{i}" for i in range(300)])
        agree()
        writer.purge()
        agree()
