"""Sweeps in the background go on after any error, finish what one began, and hold up no closing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forgetnet import ForgetIncomplete, Memory
from forgetnet.forget.receipt import Receipt
from forgetnet.forget.sweeping import Sweeper, Sweeps

START = datetime(2030, 1, 1, tzinfo=UTC)
SECRET = "what the record says"


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


class Failing(Sweeps):
    """Fails in a new way at each turn, by errors that aren't ForgetNet's own."""

    def __init__(self) -> None:
        self.turns = 0

    def overdue(self) -> bool:
        self.turns += 1
        return True

    def sweep(self) -> Receipt:
        kinds = [KeyError, MemoryError, RuntimeError, OSError, RecursionError]
        raise kinds[self.turns % len(kinds)](SECRET)


def test_a_sweeper_outlives_any_error_and_tells_only_its_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    owner = Failing()
    with caplog.at_level(logging.DEBUG):
        sweeper = Sweeper(owner, 0.001)
        wait_for(lambda: owner.turns > 9)
        sweeper.stop()
    said = [record.getMessage() for record in caplog.records]
    assert "a sweep failed (KeyError) and is tried again" in said
    assert len(set(said)) == 5
    assert SECRET not in caplog.text
    turns = owner.turns
    time.sleep(0.05)
    assert owner.turns == turns
    assert not sweeper._thread.is_alive()


@pytest.fixture
def late(tmp_path: Path) -> Memory:
    now = [START]
    memory = Memory.open(tmp_path / "kb", encoder="hash:32", clock=lambda: now[0])
    memory.add(SECRET, subject="ann", expires_at=START + timedelta(hours=1))
    memory.add("this stays")
    now[0] += timedelta(hours=2)
    return memory


def test_a_sweep_that_was_cut_short_is_overdue_and_the_next_finishes_it(
    late: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = late._home.root
    assert root is not None

    def fails() -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(late._store, "purge", fails)
        with pytest.raises(ForgetIncomplete):
            late.sweep()
        assert late.get_all()[0].text == "this stays"
        assert late.overdue()
    assert any(SECRET.encode() in p.read_bytes() for p in root.rglob("*") if p.is_file())
    sweeper = Sweeper(late, 0.01)
    wait_for(lambda: not late.overdue())
    sweeper.stop()
    assert not any(SECRET.encode() in p.read_bytes() for p in root.rglob("*") if p.is_file())
    erased = [Receipt.load(path).status for path in (root / "receipts").glob("*.json")]
    assert "erased" in erased
    late.close()


def test_closing_waits_for_the_sweep_under_way_and_lets_none_begin(
    late: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, may, real = threading.Event(), threading.Event(), late._store.purge

    def slow() -> object:
        at.set()
        assert may.wait(60)
        return real()

    monkeypatch.setattr(late._store, "purge", slow)
    late._sweeper = Sweeper(late, 0.001)
    assert at.wait(60)
    closing = threading.Thread(target=late.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    may.set()
    closing.join(60)
    assert not closing.is_alive()
    assert not late._sweeper._thread.is_alive()
    assert late._home.root is not None
    assert len(list((late._home.root / "receipts").glob("*.json"))) == 1
