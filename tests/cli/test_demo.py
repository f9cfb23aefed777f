"""The demo tells what happened, and each of its checks can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forgetnet import Memory
from forgetnet.cli import demo_play, demo_tale
from forgetnet.demo import load_messages, load_story
from forgetnet.forget.receipt import Receipt
from forgetnet.store import Purged
from forgetnet_stores.lance import LanceStore

STORY = load_story()
RECORDS = [demo_play.record_of(message) for message in load_messages()]


def play(shell, code: int) -> dict:
    result = shell("demo", "--encoder", "hash", "--json", code=code)
    return json.loads(result.stdout)


def failed(facts: dict) -> set[str]:
    assert facts["passed"] is not bool([c for c in facts["checks"].values() if not c])
    return {name for name, held in facts["checks"].items() if not held}


def test_it_passes_and_its_facts_agree_with_the_story(shell) -> None:
    facts = play(shell, 0)
    gone = demo_play.gone_with(RECORDS, STORY.forget)
    assert failed(facts) == set() and len(facts["checks"]) == 10
    assert (facts["records"], facts["people"]) == (371, 12)
    plan = facts["plan"]
    assert set(plan["direct"] + plan["mentions"] + plan["derived"]) == gone
    count = len(gone)
    assert facts["bytes_before"]["found"] == {"id": count, "text": count, "vector": count}
    assert facts["bytes_after"]["found"] == {"id": 0, "text": 0, "vector": 0}
    assert facts["control_after"]["records"] > 10
    after = {hit["id"] for question in facts["questions"] for hit in question["after"]}
    assert after and not after & gone
    assert [q["question"] for q in facts["unchanged"]] == list(STORY.unchanged)


def test_it_passes_as_its_command_runs_it() -> None:
    """With a real encoder and the threads that torch takes by itself; the tests give it one."""
    alone = {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}
    environ = {name: value for name, value in os.environ.items() if name not in alone}
    command = [sys.executable, "-m", "forgetnet.cli", "demo", "--json"]
    said = subprocess.run(command, env=environ, capture_output=True, text=True, check=False).stdout
    assert failed(json.loads(said)) == set()


def test_it_is_readable_in_80_columns_without_colour(shell) -> None:
    said = shell("demo", "--encoder", "hash").stdout
    assert "\x1b" not in said and max(map(len, said.splitlines())) <= 80
    assert len(said.splitlines()) < 90
    for word in (STORY.forget, "FOUND", "GONE", "All 10 checks passed", *STORY.questions):
        assert word in said


def test_a_kept_memory_opens_as_any_other(shell, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    shell("demo", "--encoder", "hash", "--store", str(folder))
    told = json.loads(shell("stats", "--store", str(folder), "--json").stdout)
    assert (told["records"], told["receipts"]) == (371 - 50, 1)
    again = shell("demo", "--encoder", "hash", "--store", str(folder), code=1)
    assert "not empty" in again.stderr


def test_bytes_that_stay_are_seen(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LanceStore, "purge", lambda _: Purged())
    assert failed(play(shell, 1)) == {
        "after: the byte check finds nothing",
        "it says erased, for every record",
    }


def test_a_plan_that_misses_a_record_is_seen(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Memory.forget
    monkeypatch.setattr(Memory, "forget", lambda m, **words: real(m, mentions=False, **words))
    found = failed(play(shell, 1))
    assert "the plan takes all that leads to that person" in found
    assert "after: the byte check finds nothing" in found
    assert "and as in a memory that never knew that person" in found


def test_an_answer_that_moves_is_seen(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more record than the twin has, near a question that should not have changed."""
    real = Memory.forget

    def forget(memory, **words):
        done = real(memory, **words)
        if isinstance(done, Receipt):
            memory.add(STORY.unchanged[0], subject="stranger")
        return done

    monkeypatch.setattr(Memory, "forget", forget)
    assert failed(play(shell, 1)) == {
        "everyone else's answers are as before",
        "and as in a memory that never knew that person",
    }


def test_a_blind_look_is_seen(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look for other vectors than those stored finds no vector, before or after."""
    real = demo_tale.probe_for

    def other(memory, ids):
        probe = real(memory, ids)
        wrong = demo_play.residue.trace(
            [memory.get(i) for i in sorted(ids)],
            np.zeros((len(ids), 384), np.float32),
            salt=probe.traces.salt,
        )
        return demo_play.Probe(probe.count, wrong, probe.needles)

    monkeypatch.setattr(demo_tale, "probe_for", other)
    assert failed(play(shell, 1)) == {
        "before: the byte check finds every record",
        "after: it still finds somebody else's records",
    }


def test_a_receipt_that_was_changed_is_seen(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Memory.forget

    def forget(memory, **words):
        done = real(memory, **words)
        if isinstance(done, Receipt):
            (path,) = Path(memory._office.root / "receipts").iterdir()
            envelope = json.loads(path.read_text())
            signature = envelope["signatures"][0]
            signature["sig"] = ("B" if signature["sig"][0] == "A" else "A") + signature["sig"][1:]
            path.write_text(json.dumps(envelope))
        return done

    monkeypatch.setattr(Memory, "forget", forget)
    assert failed(play(shell, 1)) == {"the receipt is genuine"}
