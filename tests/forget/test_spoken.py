"""A forget asks by words, too, wherever a search by words could still find what is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgetnet import Memory, StoreError, words
from forgetnet.forget.receipt import Receipt
from forgetnet.store import TextQuery
from forgetnet.words import Words

HERE, ANEW = "searched by its own words", "reopened, searched by words"


@pytest.fixture(params=["memory", "lance"])
def memory(request: pytest.FixtureRequest, tmp_path: Path):
    url = "memory://" if request.param == "memory" else str(tmp_path / "kb")
    with Memory.open(url, encoder="hash:32") as opened:
        opened.add(["the red kayak", "tea with ann", "🛶"], subject="ann")
        opened.add(["the blue kayak", "tea with ben"], subject="ben")
        yield opened


def controls(receipt: Receipt) -> dict[str, tuple[int, int, int]]:
    """Return expected controls, found ones and hits of the looks by words."""
    return {
        check.check: (check.control_expected, check.control_found, check.hits)
        for surface in receipt.surfaces
        for check in surface.verification
        if "words" in check.check
    }


def test_an_index_of_words_is_asked_and_so_is_a_fresh_one(memory):
    memory._store.words(TextQuery("kayak"))
    receipt = memory.forget(subject="ann")
    assert receipt.status == "erased"
    expected = {HERE: (2, 2, 0), ANEW: (2, 2, 0)}
    if memory._home.root is None:
        del expected[ANEW]
    assert controls(receipt) == expected
    assert receipt.check(memory.public_key) == []
    (left,) = memory._store.words(TextQuery("ann kayak"))
    assert memory.get(left[0]).subject == "ben"


def test_who_never_searched_by_words_pays_for_no_index_unless_the_look_is_full(memory):
    receipt = memory.forget(filter={"text": "the red kayak"})
    assert controls(receipt) == {}
    assert not memory._store.worded
    receipt = memory.forget(subject="ann", verify="full")
    assert controls(receipt)[HERE] == (1, 1, 0)


def test_words_that_stay_behind_are_no_erasure(memory, monkeypatch):
    memory._store.words(TextQuery("kayak"))
    monkeypatch.setattr(Words, "remove", lambda self, records: None)
    receipt = memory.forget(subject="ann")
    assert receipt.status == "failed"
    found = controls(receipt)
    assert found[HERE] == (2, 2, 2)
    assert found.get(ANEW, (2, 2, 0)) == (2, 2, 0)


def test_words_that_were_not_found_before_prove_nothing_afterwards(memory, monkeypatch):
    memory._store.words(TextQuery("kayak"))
    monkeypatch.setattr(Words, "search", lambda self, *args, **options: [])
    receipt = memory.forget(subject="ann")
    assert receipt.status == "failed"
    assert controls(receipt)[HERE] == (2, 0, 0)


@pytest.mark.parametrize(
    ("text", "asked"),
    [("a" * 40_000, 0), ("é" * 40_000 + "a", 0), ("漢a" * 20_000, 0), ("a" * 40_000 + " b!", 1),
     ("_-\0", 0), ("x\0y", 1), ("kayak_two", 1)],
)  # fmt: skip
def test_a_text_that_no_search_by_words_can_find_is_erased_all_the_same(text, asked):
    """FTS5 cuts off words beyond 32,768 bytes: such a record was called failed."""
    with Memory.open("memory://", encoder="hash:32") as memory:
        memory.add([text, "tea with ben"], ids=["long", "ben"])
        memory._store.words(TextQuery("tea"))
        receipt = memory.forget(ids="long", verify="full")
        assert receipt.status == "erased"
        assert controls(receipt) == ({HERE: (asked, asked, 0)} if asked else {})


def test_words_that_cannot_be_indexed_keep_nobody_from_being_forgotten(memory, monkeypatch):
    def full(self: object, texts: object) -> None:
        raise StoreError("SQLite can't index")

    monkeypatch.setattr(words._Index, "add", full)
    receipt = memory.forget(subject="ann", verify="full")
    assert receipt.status == "erased"
    assert controls(receipt) == {}
