"""A forget of a confirmed scope through power cuts: as confirmed or not at all, with a receipt."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from forgetnet import Memory, Receipt
from forgetnet.forget.journal import Journal
from forgetnet.meaning import Scope
from tests.faults.cuts import PowerCutError, failing
from tests.meaning.ground import filled, opened, query


def prepared(path: Path) -> Scope:
    """A memory with a confirmed scope in a file beside it."""
    with filled(path / "kb", labelled=4, free=3) as memory:
        like = [f"allergies-{i}" for i in range(7)]
        scope = memory.scope(query(), recall=0.8, topics=[], like=like).add("travel-1").confirm()
        assert 0 < len(scope) < memory.count()
        scope.save(path / "scope.json")
    return scope


def cut_at(path: Path, at: int, *, after: bool) -> bool:
    """Forget the scope with a power cut at the n-th durable step; tell whether it came."""
    cut = False
    memory = opened(path / "kb")
    with contextlib.suppress(PowerCutError), failing(at, PowerCutError, after=after) as calls:
        try:
            memory.forget(scope=Scope.load(path / "scope.json", memory))
        except PowerCutError:
            cut = True
            memory._store._lock.release()  # as the end of a process would
            raise
        memory.close()
    return cut or len(calls) >= at


def receipts_of(memory: Memory, path: Path) -> list[Receipt]:
    made = [Receipt.load(p) for p in sorted((path / "kb" / "receipts").glob("*.json"))]
    for receipt in made:
        assert receipt.verify(memory.public_key).proven
    return made


@pytest.mark.parametrize("after", [False, True])
def test_cut_at_any_durable_step_it_takes_what_was_confirmed_or_nothing(tmp_path, after):
    first = tmp_path / "first"
    first.mkdir()
    scope = prepared(first)
    at = resumed = 0
    while True:
        at += 1
        path = tmp_path / f"at{at}"
        shutil.copytree(first, path)
        if not cut_at(path, at, after=after):
            break
        with opened(path / "kb") as memory:  # finishes what is owed
            here = {r.id for r in memory.get_all()}
            assert here.isdisjoint(scope.ids) or here >= set(scope.ids), at
            if here >= set(scope.ids):
                memory.forget(scope=Scope.load(path / "scope.json", memory))
            else:
                resumed += 1
            assert memory.count() == 35 - len(scope), at
            (receipt, *_) = receipts_of(memory, path)
            assert receipt.predicate["proposal"] == scope.proposal.to_plain(), at
        shutil.rmtree(path)
    assert at > 15 and resumed > 5


def test_a_journal_of_an_older_version_is_finished_and_its_receipt_has_no_proposal(tmp_path):
    scope = prepared(tmp_path)
    for at in range(1, 99):
        path = tmp_path / f"at{at}"
        shutil.copytree(tmp_path / "kb", path / "kb")
        shutil.copy(tmp_path / "scope.json", path)
        assert cut_at(path, at, after=True)
        entries = list((path / "kb" / "journal").glob("*.json"))
        if entries:
            break
    (entry,) = Journal(path / "kb" / "journal").pending()
    assert entry.plan.proposal == scope.proposal
    body = json.loads(entries[0].read_bytes())
    del body["proposal"]
    entries[0].write_text(json.dumps(body))
    with opened(path / "kb") as memory:
        (receipt,) = receipts_of(memory, path)
        assert "proposal" not in receipt.predicate and receipt.status == "erased"
