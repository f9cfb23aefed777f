"""A crash at any step of a forget leaves a state from which it finishes, and no false claim."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forgetnet import ForgetIncomplete, InvalidScope, Memory, Receipt, StoreError
from forgetnet.forget import execute
from forgetnet.forget.journal import Journal
from forgetnet.forget.verify import Look
from forgetnet.ledger import Ledger
from forgetnet_stores.lance.engine import LanceStore

KEY = bytes(range(32))
SECRET = "the blue heron nests behind the old mill"


def fill(path: Path) -> None:
    with Memory.open(path, encoder="hash:32", key=KEY) as memory:
        memory.add([f"{SECRET} {n}" for n in range(20)], subject="ann", topic="birds/heron")
        memory.add([f"nothing to see {n}" for n in range(20)], subject="bob", topic="birds")


def open_(path: Path) -> Memory:
    return Memory.open(path, encoder="hash:32", key=KEY)


def check_finished(path: Path) -> None:
    """Ann is gone from every answer and every file, Bob is whole, the journal is empty."""
    with open_(path) as memory, Memory.open("memory://", encoder="hash:32", key=KEY) as twin:
        assert memory.count({"subject": "ann"}) == 0
        twin.add(memory.get_all({"subject": "bob"}))
        assert twin.count() == 20
        assert memory.digest() == twin.digest()
        key = memory.public_key
    assert list((path / "journal").iterdir()) == []
    for file in path.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes()
    receipts = [Receipt.load(p) for p in (path / "receipts").iterdir()]
    assert receipts
    for receipt in receipts:
        assert receipt.verify(key).status == "erased"
        assert receipt.counts["direct"] == 20
    assert "ann" not in (path / "ledger.jsonl").read_text()


class PowerCutError(BaseException):
    """Not an error that any handler may swallow."""


def cut(*_args, **_options):
    raise PowerCutError


STEPS = [
    (LanceStore, "delete"),
    (LanceStore, "purge"),
    (Look, "after"),
    (execute, "_receipt"),
    (Receipt, "save"),
    (Ledger, "append"),
    (Journal, "close"),
]


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
def test_a_crash_around_any_step_is_finished_by_the_next_opening(
    tmp_path, monkeypatch, owner, step, late
):
    path = tmp_path / "kb"
    fill(path)
    memory = open_(path)
    real = getattr(owner, step)

    calls = []

    def then_cut(*args, **options):
        calls.append(step)
        # The first receipt is a sample, made before anything is deleted.
        if late or (step == "_receipt" and len(calls) == 1):
            result = real(*args, **options)
            if step == "_receipt" and len(calls) == 1:
                return result
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, then_cut)
        with pytest.raises(PowerCutError):
            memory.forget(subject="ann")
        memory._store._lock.release()
        memory._store._lock = None
    check_finished(path)


def test_a_crash_before_the_journal_leaves_everything(tmp_path, monkeypatch):
    path = tmp_path / "kb"
    fill(path)
    with open_(path) as memory:
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "open", cut)
            with pytest.raises(PowerCutError):
                memory.forget(subject="ann")
        assert memory.count() == 40
        assert list((path / "receipts").iterdir()) == []


def test_a_crash_while_finishing_is_finished_too(tmp_path, monkeypatch):
    path = tmp_path / "kb"
    fill(path)
    for owner, step in STEPS:
        if step == "_receipt":
            continue  # its first call comes before the journal
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, cut)
            with pytest.raises(PowerCutError), open_(path) as memory:
                memory.forget(subject="ann")
    check_finished(path)


def test_a_crash_in_the_shredding_of_the_journal_is_no_harm(tmp_path, monkeypatch):
    path = tmp_path / "kb"
    fill(path)
    real = Path.unlink

    def unlink(self, **options):
        if self.parent.name == "journal" and self.suffix == ".json":
            raise PowerCutError
        real(self, **options)

    with open_(path) as memory, monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(PowerCutError):
            memory.forget(subject="ann")
    (entry,) = (path / "journal").iterdir()
    assert set(entry.read_bytes()) == {0}
    check_finished(path)


def test_what_is_owed_is_finished_before_the_next_change(tmp_path, monkeypatch):
    path = tmp_path / "kb"
    fill(path)
    with open_(path) as memory:
        victim = memory.get_all({"subject": "ann"})[0].id
        with monkeypatch.context() as patch:
            patch.setattr(LanceStore, "purge", cut)
            with pytest.raises(PowerCutError):
                memory.forget(subject="ann")
        memory.add("new and acknowledged", ids=victim, subject="carl")
        assert list((path / "journal").iterdir()) == []
    with open_(path) as memory:
        assert memory.get(victim).text == "new and acknowledged"
        assert memory.forget(subject="carl").status == "erased"
    check_finished_of(path)


def check_finished_of(path: Path) -> None:
    statuses = {Receipt.load(p).status for p in (path / "receipts").iterdir()}
    assert statuses == {"erased"}


def test_a_journal_that_could_not_be_made_durable_deletes_nothing_later(tmp_path, monkeypatch):
    path = tmp_path / "kb"
    fill(path)
    with open_(path) as memory:
        real = Journal.open

        def fail(self, entry):
            real(self, entry)
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(Journal, "open", fail)
            with pytest.raises(StoreError, match="nothing was deleted"):
                memory.forget(subject="ann")
    with open_(path) as memory:
        assert memory.count() == 40


def test_a_failed_purge_claims_nothing_and_is_finished_later(tmp_path, monkeypatch):
    path = tmp_path / "kb"
    fill(path)
    with open_(path) as memory:
        with monkeypatch.context() as patch:

            def fail(_self):
                raise StoreError("the disk is full")

            patch.setattr(LanceStore, "purge", fail)
            with pytest.raises(ForgetIncomplete) as caught:
                memory.forget(subject="ann")
        assert caught.value.receipt.status == "failed"
        assert memory.search(SECRET, subject="ann") == []
        assert list((path / "receipts").iterdir()) == []
    check_finished(path)


def test_a_blind_look_is_never_called_erased(tmp_path, monkeypatch):
    path = tmp_path / "kb"
    fill(path)
    with open_(path) as memory:
        real = Look._control

        def blind(self):
            real(self)
            self.control = (0, self.control[1])

        monkeypatch.setattr(Look, "_control", blind)
        receipt = memory.forget(subject="ann")
        assert receipt.status == "failed"
        assert any("controls" in reason for reason in receipt.verify(memory.public_key).reasons)


def test_a_purge_that_lies_is_caught_by_the_look(tmp_path, monkeypatch):
    path = tmp_path / "kb"
    fill(path)
    with open_(path) as memory:
        monkeypatch.setattr(LanceStore, "purge", lambda _self: None)
        receipt = memory.forget(subject="ann")
        assert receipt.status == "failed"
    with open_(path) as memory:
        monkeypatch.undo()
        monkeypatch.setattr(LanceStore, "delete", lambda _self, _ids: [])
        assert memory.forget(subject="bob").status == "failed"


def test_a_stray_file_in_the_folder_makes_the_proof_fail(tmp_path):
    path = tmp_path / "kb"
    fill(path)
    (path / "store" / "pieces" / "copy.npy").write_bytes(os.urandom(64))
    with open_(path) as memory:
        # The writer removes what no leaf names when it opens; a file that comes later stays.
        (path / "store" / "backup.bin").write_bytes(os.urandom(64))
        receipt = memory.forget(subject="ann")
        assert receipt.status == "failed"
        (rows, *_) = receipt.surfaces
        looks = {check.check: check for check in rows.verification if check.reasons()}
        assert looks["nothing lies about that no leaf names"].hits == 1
        # The files weren't read then, and no check says that they were.
        assert looks["every file decoded and searched raw"].opaque > 0


def test_a_flipped_byte_in_a_path_or_a_place_stops_a_forget_by_topic(tmp_path):
    path = tmp_path / "kb"
    fill(path)
    with open_(path) as memory:
        table = memory._store._state.table
        victim = next(i for i, r in table.records.items() if r.topic == "birds/heron")
        record = table.records[victim]
        for topic in ("birds/herom", "cirds/heron"):
            object.__setattr__(record, "topic", topic)
            with pytest.raises(InvalidScope, match="witnesses"):
                memory.forget(topic="birds/heron" if topic[0] == "c" else "birds")
        object.__setattr__(record, "topic", "birds/heron")
        content, place = table.vectors([victim])
        raw = bytearray(place.tobytes())
        raw[5] ^= 1
        table.remove([victim])
        table.add([record], content, place.__class__((1, 17), place.dtype, bytes(raw)))
        with pytest.raises(InvalidScope, match="witnesses"):
            memory.forget(topic="birds/heron")
        assert memory.count() == 40


WORKER = """
import json, sys
from forgetnet import Memory
memory = Memory.open(sys.argv[1], encoder="hash:32", key=bytes(range(32)))
print("ready", flush=True)
receipt = memory.forget(subject="ann")
print(json.dumps({"status": str(receipt.status)}), flush=True)
memory.close()
"""


@pytest.mark.slow
def test_a_real_kill_at_random_moments_leaves_what_can_be_finished(tmp_path):
    chance = random.Random(7)
    acknowledged = 0
    for round_ in range(15):
        path = tmp_path / f"kb{round_}"
        fill(path)
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout.readline() == "ready\n"
            time.sleep(chance.random() * 0.25)
            child.send_signal(signal.SIGKILL)
            said = child.stdout.read()
        begun = any((path / "journal").glob("*.json")) or any((path / "receipts").glob("*.json"))
        if said:
            acknowledged += 1
            assert json.loads(said)["status"] == "erased"
        if begun:
            check_finished(path)
        else:
            with open_(path) as memory:
                assert memory.count() == 40
            assert list((path / "journal").iterdir()) == []
    assert acknowledged < 15
