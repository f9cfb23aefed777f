"""Opening a memory: two at once, after a kill, after a power failure, beside a writer."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet import (
    EncoderMismatch,
    InvalidRecord,
    Memory,
    Record,
    StoreCorrupt,
    StoreError,
    StoreLocked,
    Unsupported,
    home,
    opening,
)

ENCODER = "hash:64"
KEY = bytes(range(32))


def before(module: Any, name: str, patch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Run an action once, just before a function is first called."""
    real = getattr(module, name)
    waiting = [action]

    def called(*args: Any, **options: Any) -> Any:
        if waiting:
            waiting.pop()()
        return real(*args, **options)

    patch.setattr(module, name, called)


class Between:
    """A reader's store beside which a writer acts, each time after the named question."""

    def __init__(self, store: Any, verb: str, actions: list[Callable[[], Any]]) -> None:
        self._store, self._verb, self._actions = store, verb, actions

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name != self._verb:
            return real

        def asked(*args: Any, **options: Any) -> Any:
            answer = real(*args, **options)
            if self._actions:
                self._actions.pop(0)()
            return answer

        return asked


# -- two that make the same memory


@pytest.mark.parametrize("step", [(home, "write_durable"), (os, "link")], ids=["write", "link"])
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_a_key_is_never_replaced_by_another_process_that_saw_none(
    step, closed, tmp_path: Path, monkeypatch
):
    root = tmp_path / "kb"
    first: list[Memory] = []

    def overtake() -> None:
        first.append(Memory.open(root, encoder=ENCODER))
        first[0].add("kept for good", ids="a")
        if closed:
            first[0].close()

    before(*step, monkeypatch, overtake)
    if closed:
        with Memory.open(root, encoder=ENCODER) as second:
            assert second.get("a").text == "kept for good"
            assert second.public_key == first[0].public_key
    else:
        with pytest.raises(StoreLocked):
            Memory.open(root, encoder=ENCODER)
        first[0].close()
    with Memory.open(root) as again:
        assert again.get("a").text == "kept for good"
    assert not list(root.glob(".*"))


@pytest.mark.parametrize("other", ["encoder", "key"])
def test_who_loses_the_race_does_not_rewrite_what_the_memory_was_made_with(
    other, tmp_path: Path, monkeypatch
):
    root = tmp_path / "kb"
    made = {"encoder": "vectors:64", "key": KEY} if other == "encoder" else {"encoder": ENCODER}
    mine = {"encoder": ENCODER, "key": KEY}

    def overtake() -> None:
        Memory.open(root, **made).close()

    before(opening, "open_store", monkeypatch, overtake)
    with pytest.raises((StoreError, EncoderMismatch), match=f"another {other}|made with {other}"):
        Memory.open(root, **mine)
    Memory.open(root, **made).close()


# -- after a kill


def plant(folder: Path, name: str) -> Path:
    torn = folder / f".{name}.0badcafe.tmp"
    torn.write_bytes(b"ann said this in secret")
    return torn


def test_files_that_a_killed_write_left_are_shredded_and_a_forget_is_erased(tmp_path: Path):
    root = tmp_path / "kb"
    with Memory.open(root, encoder=ENCODER) as memory:
        memory.add("ann is ill", ids="a", subject="ann")
    left = [
        plant(root, "forgetnet.json"),
        plant(root, "receipt.pub"),
        plant(root / "receipts", "0123456789abcdef.json"),
        plant(root / "journal", "0123456789abcdef.json"),
    ]
    mine = root / ".notes.tmp"
    mine.write_bytes(b"")
    with Memory.open(root, readonly=True):
        assert all(path.exists() for path in left)  # a reader leaves a writer's files alone
    with Memory.open(root) as memory:
        assert not any(path.exists() for path in left)
        assert mine.exists()
        mine.unlink()
        assert memory.forget(subject="ann").status == "erased"


@pytest.mark.parametrize("name", ["key", "forgetnet.json", "receipt.pub", ".key.01234567.tmp"])
def test_a_memory_that_was_half_made_by_a_killed_process_is_made_anew(name, tmp_path: Path):
    root = tmp_path / "kb"
    root.mkdir()
    torn = plant(root, name)
    with Memory.open(root, encoder=ENCODER) as memory:
        memory.add("a")
        assert not torn.exists()
    foreign = tmp_path / "other"
    foreign.mkdir()
    kept = plant(foreign, "thesis.odt")
    with pytest.raises(StoreCorrupt, match="holds other things"):
        Memory.open(foreign, encoder=ENCODER)
    assert kept.read_bytes() == b"ann said this in secret"


def test_a_kill_just_after_the_key_got_its_name_loses_no_key(tmp_path: Path):
    root = tmp_path / "kb"
    with Memory.open(root, encoder=ENCODER) as memory:
        public = memory.public_key
    second = root / ".key.01234567.tmp"
    os.link(root / "key", second)
    with Memory.open(root) as memory:
        assert memory.public_key == public
    assert not second.exists()
    with Memory.open(root) as memory:
        assert memory.public_key == public


# -- after a power failure


def test_every_folder_that_a_new_memory_made_is_synced_into_the_one_above(
    tmp_path: Path, monkeypatch
):
    synced: set[int] = set()
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    root = tmp_path / "a" / "b" / "kb"
    with Memory.open(root, encoder=ENCODER):
        for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b", root):
            assert folder.stat().st_ino in synced, folder.name
    synced.clear()
    half = tmp_path / "half"
    half.mkdir()
    with Memory.open(half, encoder=ENCODER):
        assert {tmp_path.stat().st_ino, half.stat().st_ino} <= synced


# -- reading beside a writer


@pytest.fixture
def pair(tmp_path: Path):
    root = tmp_path / "kb"
    with Memory.open(root, encoder=ENCODER, key=KEY) as writer:
        for i, (text, subject) in enumerate(
            [("tea", "ann"), ("tea with milk", "ann"), ("tea with sugar", "ann"), ("tea", "bob")]
        ):
            writer.add(text, ids="abcd"[i], subject=subject, topic="drinks/hot")
        with Memory.open(root, key=KEY, readonly=True) as reader:
            yield writer, reader


def between(reader: Memory, verb: str, *actions: Callable[[], Any]) -> None:
    reader._store = Between(reader._store, verb, list(actions))


CHANGES: dict[str, Callable[[Memory], Any]] = {
    "deleted": lambda writer: writer.delete("a"),
    "another person's": lambda writer: writer.update("a", "bob is ill", subject="bob"),
    "moved": lambda writer: writer.update("a", topic="health"),
    "expired": lambda writer: writer.update("a", expires_at=datetime.now(UTC) - timedelta(days=1)),
}


@pytest.mark.parametrize("verb", ["search", "get"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_while_a_reader_searches_is_in_the_next_answer(change, verb, pair):
    writer, reader = pair
    asked = {"query": "tea", "k": 2, "subject": "ann", "under": "drinks"}
    before = reader.search(**asked)
    assert {hit.id for hit in before} > {"a"} and before[0].text == "tea"
    between(reader, verb, lambda: CHANGES[change](writer))
    assert reader.search(**asked) == before
    assert sorted(hit.id for hit in reader.search(**asked)) == ["b", "c"]


def test_a_search_doesnt_wait_for_a_writer_that_never_rests(pair):
    writer, reader = pair
    fresh = iter(range(100))

    def churn() -> None:
        """Delete the nearest, and put another there."""
        n = next(fresh)
        writer.delete("a" if n == 0 else f"n{n - 1}")
        writer.add("tea", ids=f"n{n}", subject="ann", topic="drinks/hot")

    between(reader, "search", *[churn] * 50)
    for nearest in ("a", "n0", "n1"):
        hits = reader.search("tea", k=2, subject="ann")
        assert hits[0].id == nearest and hits[0].distance < 1e-6 and len(hits) == 2
    assert next(fresh) == 3


def test_what_is_hidden_before_it_comes_is_never_found(pair):
    writer, reader = pair
    writer.add("tea for one", ids="q", subject="quiet")

    def restrict() -> None:
        writer.restrict(subject="quiet")
        writer.add("tea", ids="never", subject="quiet")

    between(reader, "still", restrict)
    found = {hit.id for hit in reader.search("tea")}
    assert "never" not in found and {"a", "d"} <= found

    def forget() -> None:
        writer.forget(subject="quiet")

    reader._store = reader._store._store
    between(reader, "still", forget)
    assert {"never", "q"}.isdisjoint(hit.id for hit in reader.search("tea"))


@pytest.mark.parametrize("verb", ["get", "vectors"])
def test_a_record_and_its_vector_are_of_one_moment(verb, pair):
    writer, reader = pair
    plain = reader._store

    def bits(text: str) -> bytes:
        return reader.encoder.encode([text], progress=False)[0].tobytes()

    changes = [lambda: writer.update("a", "coffee"), lambda: writer.delete("a")]
    for text, change in zip(["tea", "coffee"], changes, strict=True):
        between(reader, verb, change)
        found = reader.get("a", vector=True)
        assert (found.text, found.vector.tobytes()) == (text, bits(text))
        reader._store = plain
    assert reader.get("a", vector=True) is None


def test_what_is_counted_is_of_one_moment(pair):
    writer, reader = pair
    writer.update("a", expires_at=datetime.now(UTC) - timedelta(days=1))
    plain = reader._store
    for verb in ("count", "scan"):
        between(reader, verb, lambda: writer.delete(["a", "b", "c"]))
        if verb == "count":
            assert reader.count() == 3
            writer.add(["x", "y"], subject="ann", topic="drinks/cold")
        else:
            told = reader.stats()
            assert (told.records, told.subjects, told.topics, told.expired) == (3, 2, 2, 0)
        reader._store = plain


def test_a_reader_counts_the_receipts_that_a_writer_adds(pair):
    writer, reader = pair
    assert reader.stats().receipts == 0
    writer.forget(ids="a")
    writer.forget(ids="b")
    assert reader.stats().receipts == writer.stats().receipts == 2


# -- what a search takes


@pytest.mark.parametrize(
    "query", [["a", "b"], ["1"] * 64, [[1.0], [1.0, 2.0]], np.ones((2, 32)), [None] * 64, [], {}, 3]
)
def test_a_query_that_is_not_one_text_or_one_vector_is_refused(query, tmp_path: Path):
    with Memory.open("memory://", encoder=ENCODER) as memory:
        memory.add([Record("a")])
        with pytest.raises(InvalidRecord, match=r"one text or one vector of shape \(64,\)"):
            memory.search(query)
        for right in ("a", np.ones(64), [1] * 64, np.ones((1, 64), np.float32)):
            assert len(memory.search(right)) == 1


def test_an_engine_that_nobody_has_leaves_no_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unsupported, match="no engine is called 's3'"):
        Memory.open("s3://bucket/kb", encoder="hash:8")
    assert not list(tmp_path.iterdir())
