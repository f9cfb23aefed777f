"""Holds and restriction through power cuts at every durable step, and any history of them."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetnet import StoreError
from tests.faults.cuts import PowerCutError, failing
from tests.forget.test_keeping import ROWS, answers, filled, holding, open_, twin_of


def story(path: Path, at: int, *, after: bool) -> bool:
    """Hold, forget, lift, with a power cut at the n-th durable step; tell whether it came."""
    cut = False
    memory = open_(path)
    with contextlib.suppress(PowerCutError), failing(at, PowerCutError, after=after) as calls:
        try:
            hold = memory.hold(ids="a2", reason="case 10")
            memory.forget(subject="ann")
            memory.lift(hold.name)
        except PowerCutError:
            cut = True
            memory._store._lock.release()  # as the end of a process would
            raise
        memory.close()
    return cut or len(calls) >= at


@pytest.mark.parametrize("after", [False, True])
def test_cut_at_any_durable_step_it_ends_as_asked_and_claims_nothing_else(tmp_path, after):
    filled(tmp_path / "first").close()
    at = 0
    while True:
        at += 1
        path = tmp_path / f"kb{at}"
        shutil.copytree(tmp_path / "first", path)
        if not story(path, at, after=after):
            break
        with open_(path) as memory:
            memory.stats()
            memory.purge()  # finishes what is owed first
            (hold,) = memory.holds() or (None,)
            here = {r.id for r in memory.get_all()}
            found = {h.id for h in memory.search("ann", k=9)}
            forgotten = "a1" not in here
            if hold is None:
                assert here in ({"a1", "a2", "a3", "b1", "b2"}, {"b2"}), at
                assert found == here
            else:
                assert ("a2" in here) and (("a2" in found) is not forgotten), at
                memory.forget(subject="ann")
                for receipt in memory.lift(hold.name):
                    assert receipt.status == "erased"
                assert {r.id for r in memory.get_all()} == {"b2"}, at
            if {r.id for r in memory.get_all()} == {"b2"}:
                assert holding(path, b"harbour") == [], at
                assert list((path / "marks").iterdir()) == [], at
    assert at > 30


@pytest.mark.parametrize(
    ("scope", "gone", "left"),
    [
        ({"subject": "ann"}, ["a1", "a2", "a3", "b1"], []),
        ({"ids": ["a1", "b2"]}, ["a1"], [("b2",)]),
        ({"ids": ["a1"]}, ["a1"], []),
    ],
)
def test_a_mark_lets_go_at_the_next_opening_of_what_a_crash_had_it_outlive(
    tmp_path, scope, gone, left
):
    with filled(tmp_path / "kb") as memory:
        memory.restrict(**scope)
        memory._store.delete(gone)  # and here the process ends
    with open_(tmp_path / "kb") as memory:
        assert [mark.ids for mark in memory.restrictions()] == left
    assert len(list((tmp_path / "kb" / "marks").iterdir())) == len(left)


def test_a_restriction_ends_with_the_update_that_leaves_nobody_under_it(tmp_path):
    with filled(tmp_path / "kb") as memory:
        memory.restrict(subject="bob")
        for record in memory.get_all():
            if record.subject == "bob":
                memory.update(record.id, subject="eve")
            if "bob" in record.mentions:
                memory.update(record.id, mentions=[])
        assert not memory.restrictions()
    assert holding(tmp_path / "kb" / "marks", b"bob") == []


def test_a_deletion_whose_marks_cannot_be_written_is_finished_by_the_next_change(
    tmp_path, monkeypatch
):
    with filled(tmp_path / "kb") as memory:
        memory.restrict(ids=["a1", "b2"])

        def fails(*given: object) -> None:
            raise OSError(5, "the disk")

        with monkeypatch.context() as patch:
            patch.setattr(type(memory._office.marks), "release", fails)
            with pytest.raises(StoreError, match="next change"):
                memory.delete("a1")
        assert memory.get("a1") is None
        memory.purge()
        assert [mark.ids for mark in memory.restrictions()] == [("b2",)]


IDS = [r.id for r in ROWS]


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hold", "restrict", "forget", "lift", "reopen"]),
            st.sets(st.sampled_from(IDS), min_size=1),
        ),
        max_size=8,
    )
)
def test_after_any_history_what_is_searched_is_what_may_be(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("kb") / "kb"
    memory = filled(path)
    here, held, limited, owed = set(IDS), {}, {}, set()
    for verb, ids in steps:
        ids &= here
        if verb == "reopen":
            memory.close()
            memory = open_(path)
        elif verb == "lift" and (held or limited):
            name = min([*held, *limited])
            held.pop(name, None)
            limited.pop(name, None)
            memory.lift(name)
            due = owed - set().union(*held.values())
            here, owed = here - due, owed - due
        elif not ids:
            continue
        elif verb == "hold":
            held[memory.hold(ids=sorted(ids), reason="case").name] = ids
        elif verb == "restrict":
            limited[memory.restrict(ids=sorted(ids)).name] = ids
        elif verb == "forget":
            kept = ids & set().union(*held.values())
            status = memory.forget(ids=sorted(ids)).status
            assert status == ("unsupported" if kept else "erased")
            here, owed = here - (ids - kept), owed | kept
        limited = {m.name: set(m.ids) & here for m in memory.restrictions() if set(m.ids) & here}
    hidden = owed.union(*limited.values())
    assert {r.id for r in memory.get_all()} == here
    with twin_of(memory, hidden) as twin:
        assert answers(memory) == answers(twin)
    memory.close()
