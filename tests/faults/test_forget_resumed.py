"""A forget that was cut short ends in the receipt that it would have had, and keeps its secrets."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet import ForgetIncomplete, Memory, Receipt, Record, StoreCorrupt, StoreError
from forgetnet.encode import HashEncoder
from forgetnet.filters import under
from forgetnet.forget import execute
from forgetnet.forget.hidden import Hidden
from forgetnet.forget.journal import Journal
from forgetnet.forget.keys import derive_salt
from forgetnet.forget.openings import Openings
from forgetnet.forget.plan import Scope
from forgetnet.forget.surfaces import Surface
from forgetnet.forget.verify import RESUMED, Look
from forgetnet.geometry import codes
from forgetnet.index import FlatIndex
from forgetnet.ledger import Ledger
from forgetnet.reader import now
from forgetnet.record import normalise, split_topic
from forgetnet.retrieve import cone_of
from forgetnet.store import StoreConfig, open_store
from forgetnet_stores.lance.engine import LanceStore

KEY = bytes(range(32))
SALT = derive_salt(KEY)
NAME, TOPIC, REASON = "Ann Smith-Jones", "birds/heron", "she asked by letter on Monday"
TEXT = "the blue heron nests behind the old mill"
SCOPES: dict[str, dict[str, Any]] = {
    "ids": {"ids": ["h0", "h1", "never stored"]},
    "subject": {"subject": NAME},
    "filter": {"filter": {"metadata.n": {"$lt": 5}}},
    "topic": {"topic": TOPIC},
    "nothing": {"ids": ["never stored"]},
}
STEPS = [
    (LanceStore, "delete"),
    (LanceStore, "purge"),
    (Look, "after"),
    (execute, "_receipt"),
    (Receipt, "save"),
    (Ledger, "append"),
    (Journal, "close"),
]


class PowerCutError(BaseException):
    """Not an error that any handler may swallow."""


def open_(path: Path) -> Memory:
    return Memory.open(path, encoder="hash:32", key=KEY)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "kb"
    with open_(path) as memory:
        for n in range(12):
            record = Record(f"{TEXT} {n}", id=f"h{n}", metadata={"n": n})
            memory.add(record, subject=NAME, topic=TOPIC if n % 2 else TOPIC + "/grey")
        memory.add("a letter about her", subject="bob", mentions=NAME, topic="birds")
        memory.add("a summary", subject="carl", derived_from="h1")
        memory.add([f"nothing to see {n}" for n in range(20)], subject="bob", topic="birds")
    return path


def told(receipt: Receipt) -> dict[str, Any]:
    """What a receipt says, but for what is random, of its moment, or how a look was made."""
    said = receipt.predicate
    for name in ("receipt", "started", "finished", "ledger", "commitments"):
        said.pop(name)
    said["scope"] = said["scope"]["kind"]
    said.pop("reason")
    said["exclusions"] = [line for line in said["exclusions"] if line not in RESUMED]
    for surface in said["surfaces"]:
        assert surface.pop("verification")
    return said


@contextlib.contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Openings]]:
    """Collect the openings of a forget, which die with its process."""
    drawn: list[Openings] = []
    real = Openings.draw

    def draw(*args: Any, **options: Any) -> Openings:
        drawn.append(real(*args, **options))
        return drawn[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Openings, "draw", draw)
        yield drawn


def cut(
    path: Path, scope: dict[str, Any], owner: Any, step: str, monkeypatch: Any, *, late: bool
) -> Openings:
    """Forget until the power goes, before or after a step; return what that process knew."""
    real, calls = getattr(owner, step), []

    def then_cut(*args: Any, **options: Any) -> Any:
        calls.append(step)
        if step == "_receipt" and len(calls) == 1:  # a sample, before anything is deleted
            return real(*args, **options)
        if late:
            real(*args, **options)
        raise PowerCutError

    with watched(monkeypatch) as drawn, monkeypatch.context() as patch:
        patch.setattr(owner, step, then_cut)
        memory = open_(path)
        with pytest.raises(PowerCutError):
            memory.forget(**scope, reason=REASON)
        memory._store._lock.release()
        memory._store._lock = None
    return drawn[0]


def check_hidden(path: Path, openings: Openings) -> None:
    """No entry of the journal holds a name, a text, a reason, or a key that opens anything."""
    for entry in (path / "journal").iterdir():
        held = entry.read_bytes()
        keys = [*openings.records.values(), openings.scope[1], openings.reason[1]]
        plain = [word.encode() for word in (NAME, TOPIC, REASON, TEXT, "metadata.n")]
        for secret in [*plain, *keys, *(key.hex().encode() for key in keys)]:
            assert secret not in held


def finished(path: Path, name: str, openings: Openings) -> Receipt:
    """Open, which finishes it; check that the old openings open the new receipt."""
    before = set((path / "receipts").glob("*.json"))
    with open_(path) as memory:
        assert list((path / "journal").iterdir()) == []
        public = memory.public_key
    fresh = set((path / "receipts").glob("*.json")) - before
    (receipt,) = [Receipt.load(found) for found in fresh or before]
    assert receipt.verify(public, ledger=Ledger(path / "ledger.jsonl", read_only=True)).proven
    assert receipt.opens("scope", *openings.scope)
    assert receipt.opens("reason", *openings.reason)
    assert all(receipt.covers(i, key) for i, key in openings.records.items())
    assert all(receipt.opens("missing", i, key) for i, key in openings.missing.items())
    assert len(receipt.erasure.matched) == len(openings.records)
    assert receipt.predicate["scope"]["kind"] == ("ids" if name == "nothing" else name)
    return receipt


def looks(surface: Surface) -> int:
    """Count the looks that a resumed forget takes too: it has no index of words to ask."""
    return sum("words" not in check.check for check in surface.verification)


def check_cut(
    name: str, filled: Path, folder: Path, monkeypatch: Any, *, at: tuple[Any, str], late: bool
) -> None:
    path, twin = folder / "kb", folder / "twin"
    owner, step = at
    shutil.copytree(filled, path)
    shutil.copytree(filled, twin)
    openings = cut(path, SCOPES[name], owner, step, monkeypatch, late=late)
    check_hidden(path, openings)
    receipt = finished(path, name, openings)
    with open_(twin) as memory:
        straight = memory.forget(**SCOPES[name], reason=REASON, verify="full")
        assert told(receipt) == {**told(straight), "status": receipt.status}
        assert receipt.status == straight.status
    closed = step == "close" and late  # its receipt was safe
    assert (set(RESUMED) <= set(receipt.predicate["exclusions"])) is not closed
    for resumed, whole in zip(receipt.surfaces, straight.surfaces, strict=True):
        assert looks(resumed) == looks(whole)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(len(STEPS)), ids=[step for _, step in STEPS])
def test_a_kill_around_any_step_ends_in_the_receipt_of_the_twin(
    number, late, filled, tmp_path, monkeypatch
):
    name = list(SCOPES)[(2 * number + late) % 4]
    check_cut(name, filled, tmp_path, monkeypatch, at=STEPS[number], late=late)


@pytest.mark.parametrize("name", SCOPES)
def test_every_kind_of_scope_ends_in_the_receipt_of_the_twin(name, filled, tmp_path, monkeypatch):
    check_cut(name, filled, tmp_path, monkeypatch, at=(LanceStore, "purge"), late=True)


def test_openings_kept_from_an_error_open_the_receipt_made_later(filled, tmp_path, monkeypatch):
    path = tmp_path / "kb"
    shutil.copytree(filled, path)

    def fail(_self: LanceStore) -> None:
        raise StoreError("the disk is full")

    with open_(path) as memory, monkeypatch.context() as patch:
        patch.setattr(LanceStore, "purge", fail)
        with pytest.raises(ForgetIncomplete) as stopped:
            memory.forget(subject=NAME, reason=REASON)
    stopped.value.receipt.save_openings(tmp_path / "openings.json")
    finished(path, "subject", Openings.load(tmp_path / "openings.json"))


def test_a_resumed_look_sees_what_an_index_kept(filled, tmp_path, monkeypatch):
    path = tmp_path / "kb"
    shutil.copytree(filled, path)
    cut(path, SCOPES["subject"], LanceStore, "delete", monkeypatch, late=False)
    with monkeypatch.context() as patch:
        patch.setattr(FlatIndex, "remove", lambda _self, _ids: None)
        open_(path).close()
    (receipt,) = [Receipt.load(found) for found in (path / "receipts").glob("*.json")]
    status = {surface.name: surface.status for surface in receipt.surfaces}
    assert status == {"rows": "erased", "vectors and index": "failed"}


@pytest.mark.parametrize("name", ["subject", "topic"])
def test_a_resumed_look_asks_for_who_and_what_was_named(name, filled, tmp_path, monkeypatch):
    path = tmp_path / "kb"
    shutil.copytree(filled, path)
    cut(path, SCOPES[name], LanceStore, "purge", monkeypatch, late=True)
    real = LanceStore.purge

    def purge(self: LanceStore) -> Any:
        done = real(self)
        late = normalise(Record("new", id="late", subject=NAME, topic=TOPIC + "/white"), now())
        place = codes.places([split_topic(late.topic)], SALT)
        self.add([late], HashEncoder(32).encode(["new"]), place)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(LanceStore, "purge", purge)
        open_(path).close()
    (receipt,) = [Receipt.load(found) for found in (path / "receipts").glob("*.json")]
    assert receipt.status == "failed"
    asked = "asked by id and subject" if name == "subject" else "path and cone asked again"
    assert any(asked in reason and " 1 hits" in reason for reason in receipt.erasure.reasons)


def test_an_entry_that_was_changed_is_refused(filled, tmp_path, monkeypatch):
    path = tmp_path / "kb"
    shutil.copytree(filled, path)
    cut(path, SCOPES["topic"], LanceStore, "purge", monkeypatch, late=False)
    (entry,) = (path / "journal").iterdir()
    whole = entry.read_text()
    for old, new in (('"matched"', '"met"'), ('"hidden"', '"h"'), ('"cone": [', '"cone": [7, ')):
        entry.write_text(whole.replace(old, new, 1))
        with pytest.raises(StoreCorrupt):
            open_(path)
    entry.write_text(whole)
    open_(path).close()
    assert list((path / "journal").iterdir()) == []


WORDS = st.sampled_from(["a", "b", "ab"])
PATHS = st.none() | st.lists(WORDS, min_size=1, max_size=4).map("/".join)


@given(st.lists(st.tuples(st.none() | WORDS, PATHS), max_size=8), WORDS, PATHS.filter(bool))
def test_what_is_hidden_asks_what_the_plain_name_asks(rows, subject, topic):
    salt = SALT
    store = open_store("memory://", StoreConfig(2, salt))
    records = [
        normalise(Record("x", id=str(n), subject=whose, topic=path), now())
        for n, (whose, path) in enumerate(rows)
    ]
    if records:
        content = HashEncoder(2).encode(["x"] * len(records))
        store.add(records, content, codes.places([split_topic(r.topic) for r in records], salt))
    for scope in (Scope(subject=subject), Scope(topic=topic)):
        made = Hidden.of(scope, hashing=b"h" * 32, salt=salt)
        hidden = Hidden.from_plain(made.to_plain(), hashing=b"h" * 32)
        assert subject not in str(made.to_plain()).split('"') and topic not in repr(hidden)
        if scope.subject:
            assert hidden.owned(store) == {r.id for r in store.scan({"subject": subject})}
            assert (hidden.filed(store), hidden.cone) == (set(), None)
        else:
            assert hidden.filed(store) == {r.id for r in store.scan(under(topic))}
            assert hidden.owned(store) == set()
            assert store.cone(hidden.cone) == store.cone(cone_of(topic, salt))
