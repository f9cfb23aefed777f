"""Legal holds and restriction: what is kept, what isn't searched, and what happens when it ends."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from forgetnet import Held, InvalidScope, Memory, Record, StoreCorrupt, StoreError
from forgetnet.files import write_durable
from forgetnet.model import ForgetNet

KEY = bytes(range(32))
ROWS = [
    Record("ann sails to the island", id="a1", subject="ann", topic="travel"),
    Record("ann owes the harbour forty coins", id="a2", subject="ann", topic="money"),
    Record("ann keeps bees", id="a3", subject="ann"),
    Record("bob met her at the quay", id="b1", subject="bob", mentions=("ann",)),
    Record("bob repairs boats", id="b2", subject="bob", topic="work"),
]


def open_(path: str | Path, **more: object) -> Memory:
    return Memory.open(path, encoder="hash:32", key=KEY, **more)


def filled(path: str | Path) -> Memory:
    memory = open_(path)
    memory.add(ROWS, progress=False)
    return memory


def twin_of(memory: Memory, without: set[str]) -> Memory:
    twin = open_("memory://")
    twin.add([memory.get(r.id, vector=True) for r in memory.get_all() if r.id not in without])
    return twin


def answers(memory: Memory) -> list:
    return [
        [(hit.id, hit.distance) for hit in memory.search(text, k=9)]
        for text in ("ann sails", "boats", "coins and bees", "quay")
    ]


def holding(path: Path, words: bytes) -> list[str]:
    return [str(p) for p in path.rglob("*") if p.is_file() and words in p.read_bytes()]


@pytest.fixture(params=["folder", "memory"])
def url(request, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else str(tmp_path / "kb")


def test_a_held_record_outlasts_its_forget_which_says_so_and_ends_when_the_hold_is_lifted(url):
    with filled(url) as memory:
        hold = memory.hold(ids="a2", reason="harbour case 12")
        plan = memory.forget(subject="ann", dry_run=True)
        assert set(plan.ids) == {"a1", "a3", "b1"}
        assert (plan.held, plan.holds) == (("a2",), (hold.name,))
        receipt = memory.forget(subject="ann")
        assert receipt.status == "unsupported"
        assert not receipt.verify(memory.public_key).proven
        kept = next(s for s in receipt.surfaces if s.name == "legal hold")
        assert (kept.status, kept.count) == ("unsupported", 1)
        assert hold.name in kept.detail
        assert "harbour case" not in json.dumps(receipt.statement)
        assert {r.id for r in memory.get_all()} == {"a2", "b2"}
        with twin_of(memory, {"a2"}) as twin:
            assert answers(memory) == answers(twin)
        (late,) = memory.lift(hold.name)
        assert late.status == "erased"
        assert late.verify(memory.public_key).proven
        assert late.counts["direct"] == 1
        with twin_of(memory, set()) as twin:
            assert {r.id for r in memory.get_all()} == {"b2"}
            assert memory.digest() == twin.digest()
    if url != "memory://":
        assert holding(Path(url), b"harbour") == []
        assert holding(Path(url), b"ann") == []
        assert list((Path(url) / "marks").iterdir()) == []


def test_all_of_a_scope_may_be_held_and_nothing_is_claimed_then(url):
    with filled(url) as memory:
        before = memory.digest()
        memory.hold(subject="ann", reason="case 1")
        receipt = memory.forget(subject="ann")
        assert (receipt.status, receipt.counts["direct"]) == ("unsupported", 3)
        assert memory.digest() == before
        assert memory.forget(ids="b2").status == "erased"


def test_a_subjects_hold_covers_what_comes_later_and_what_mentions_it(url):
    with filled(url) as memory:
        memory.hold(subject="ann", reason="case 2")
        memory.add("ann sold the bees", ids=["a9"], subject="ann")
        for i in ("a9", "b1", "a1"):
            with pytest.raises(Held, match="legal hold"):
                memory.delete(i)
            with pytest.raises(Held):
                memory.update(i, "something else")
        with pytest.raises(Held):
            memory.delete(["b2", "a1"])
        assert memory.get("b2") is not None
        assert memory.delete("b2").deleted == ("b2",)


def test_two_holds_are_two_and_the_forget_waits_for_both(url):
    with filled(url) as memory:
        first = memory.hold(ids=["a1", "a2"], reason="case 3")
        second = memory.hold(topic="money", reason="case 4")
        memory.forget(ids=["a1", "a2"])
        assert [m.name for m in memory.holds()] == [first.name, second.name]
        (receipt,) = memory.lift(first.name)
        assert (receipt.status, receipt.counts["direct"]) == ("erased", 1)
        assert {r.id for r in memory.get_all()} >= {"a2"}
        assert "a1" not in {r.id for r in memory.get_all()}
        (receipt,) = memory.lift(second.name)
        assert memory.get("a2") is None


def test_a_second_forget_of_what_is_owed_is_owed_once(url):
    with filled(url) as memory:
        hold = memory.hold(ids="a1", reason="case 5")
        for _ in range(3):
            assert memory.forget(ids="a1").status == "unsupported"
        assert len(memory.lift(hold.name)) == 1


def test_a_hold_that_nobody_forgot_under_is_lifted_and_nothing_goes(url):
    with filled(url) as memory:
        hold = memory.hold(ids="a1", reason="case 6")
        assert memory.lift(hold.name) == []
        assert memory.get("a1") is not None
        assert memory.forget(ids="a1").status == "erased"


def test_a_restricted_record_is_kept_and_not_searched_until_that_is_lifted(url):
    with filled(url) as memory:
        before = answers(memory)
        mark = memory.restrict(subject="ann")
        with twin_of(memory, {"a1", "a2", "a3", "b1"}) as twin:
            assert answers(memory) == answers(twin)
            assert [h.id for h in memory.search("ann", filter={"subject": "ann"})] == []
            assert memory.search("coins", under="money") == []
            near = [(h.id, h.distance) for h in memory.search("boats", near="work")]
            assert near == [(h.id, h.distance) for h in twin.search("boats", near="work")]
        assert memory.get("a1") is not None
        assert memory.count() == 5
        assert memory.restrictions() == [mark]
        memory.lift(mark.name)
        assert answers(memory) == before


def test_a_reader_beside_stops_searching_at_its_next_call(tmp_path):
    with filled(tmp_path / "kb") as memory, open_(tmp_path / "kb", readonly=True) as reader:
        assert {h.id for h in reader.search("ann", k=9)} == {r.id for r in ROWS}
        mark = memory.restrict(ids=["a1", "a2"])
        assert {h.id for h in reader.search("ann", k=9)} == {"a3", "b1", "b2"}
        memory.lift(mark.name)
        assert len(reader.search("ann", k=9)) == 5
        with pytest.raises(StoreError, match="readonly"):
            reader.hold(ids="a1", reason="case")
        with pytest.raises(StoreError, match="readonly"):
            reader.lift(mark.name)


def test_a_restriction_ends_with_its_last_record_and_leaves_no_name_behind(tmp_path):
    with filled(tmp_path / "kb") as memory:
        memory.restrict(subject="ann")
        memory.restrict(ids=["a1", "b2"])
        assert memory.forget(subject="ann").status == "erased"
        (left,) = memory.restrictions()
        assert left.ids == ("b2",)
        assert memory.forget(ids="b2").status == "erased"
        assert memory.restrictions() == []
    assert holding(tmp_path / "kb", b"ann") == []
    assert holding(tmp_path / "kb", b'"b2"') == []


def test_a_mark_that_names_a_subject_is_no_residue_while_the_subject_has_records(tmp_path):
    with filled(tmp_path / "kb") as memory:
        memory.restrict(subject="ann")
        assert memory.forget(ids="a1").status == "erased"
        memory.hold(subject="bob", reason="case 13")
        assert memory.forget(ids=["a2", "a3"]).status == "erased"  # b1 mentions ann still
        assert [mark.subject for mark in memory.restrictions()] == ["ann"]


def test_marks_outlast_the_process(tmp_path):
    with filled(tmp_path / "kb") as memory:
        hold = memory.hold(ids="a1", reason="case 7")
        memory.forget(subject="ann")
    with open_(tmp_path / "kb") as memory:
        assert memory.holds() == [hold]
        assert memory.get("a1") is not None
        assert memory.search("ann sails", k=1)[0].id != "a1"
        (receipt,) = memory.lift(hold.name)
        assert receipt.status == "erased"


def test_what_a_sweep_finds_is_held_too(tmp_path):
    from datetime import UTC, datetime, timedelta

    now = [datetime(2030, 1, 1, tzinfo=UTC)]
    with open_(tmp_path / "kb", clock=lambda: now[0]) as memory:
        late = now[0] + timedelta(hours=1)
        memory.add(["one", "two"], ids=["e1", "e2"], expires_at=late)
        hold = memory.hold(ids="e1", reason="case 8")
        now[0] += timedelta(hours=2)
        assert memory.sweep().status == "unsupported"
        (receipt,) = memory.lift(hold.name)
        assert receipt.status == "erased"
        assert memory.stats().expired == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ids": "a1", "reason": " "}, "needs a reason"),
        ({"ids": "nobody", "reason": "case"}, "nothing is stored"),
        ({"subject": "nobody", "reason": "case"}, "nothing is stored"),
        ({"ids": ["a1", "nobody"], "reason": "case"}, "nothing is stored of 'nobody'"),
        ({"subject": "ann", "reason": "the matter of Ann"}, "name the matter"),
        ({"ids": "b1", "reason": "ann against the harbour"}, "name the matter"),
        ({"reason": "case"}, "exactly one"),
        ({"ids": [], "reason": "case"}, "empty"),
        ({"ids": "a1", "reason": 3}, "string"),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused_and_nothing_is_held(url, given, says):
    with filled(url) as memory:
        with pytest.raises(InvalidScope, match=says):
            memory.hold(**given)
        assert memory.holds() == []
        with pytest.raises(InvalidScope, match="no hold or restriction"):
            memory.lift("0" * 16)


def test_a_damaged_mark_stops_everything_that_it_might_forbid(tmp_path):
    with filled(tmp_path / "kb") as memory:
        hold = memory.hold(ids="a1", reason="case 9")
        write_durable(tmp_path / "kb" / "marks" / f"{'0' * 16}.json", b"{")
        for verb in (
            lambda: memory.forget(ids="a1"),
            lambda: memory.delete("a1"),
            lambda: memory.search("ann"),
            lambda: memory.lift(hold.name),
        ):
            with pytest.raises(StoreCorrupt, match="what is held"):
                verb()
        assert memory.get("a1") is not None
    with pytest.raises(StoreCorrupt, match="what is held"):
        open_(tmp_path / "kb")


def test_a_model_keeps_what_is_held_and_forgets_it_when_that_is_lifted(tmp_path):
    texts = [f"{word} number {n}" for n in range(12) for word in ("tea", "coffee")]
    labels = [text.split()[0] for text in texts]
    ids = [f"r{n}" for n in range(len(texts))]
    people = [f"p{n % 6}" for n in range(len(texts))]

    def model(path: Path, keep: list[int]) -> ForgetNet:
        net = ForgetNet.open(path, encoder="hash:32", key=KEY, progress=False)
        net.fit(
            [texts[n] for n in keep],
            [labels[n] for n in keep],
            ids=[ids[n] for n in keep],
            subjects=[people[n] for n in keep],
        )
        return net

    everyone = list(range(len(texts)))
    with model(tmp_path / "net", everyone) as net:
        hold = net.hold(ids="r0", reason="case 11")
        assert net.explain("tea number 1").exact  # it may be searched
        receipt = net.forget(subject="p0")
        assert receipt.status == "unsupported"
        assert not net.explain("tea number 1").exact  # experts still know what is owed
        assert net.memory.get("r0") is not None
        kept = [n for n in everyone if people[n] != "p0" or n == 0]
        assert receipt.counts["direct"] == len(everyone) - len(kept) + 1
        assert net.predict(["tea number 1"]) is not None
        (late,) = net.lift(hold.name)
        assert late.status == "erased"
        assert net.explain("tea number 1").exact
        assert net.memory.count({"subject": "p0"}) == 0
        mark = net.restrict(ids="r1")
        assert not net.explain("tea number 1").exact
        net.lift(mark.name)
        assert net.explain("tea number 1").exact
    assert holding(tmp_path / "net", b"case 11") == []


@pytest.mark.parametrize("kind", [Memory, ForgetNet])
def test_a_sweep_in_the_background_forgets_what_expires_and_ends_with_the_memory(tmp_path, kind):
    from datetime import UTC, datetime, timedelta

    start = datetime(2030, 1, 1, tzinfo=UTC)
    now = [start]
    with open_(tmp_path / "kb", clock=lambda: now[0]) as memory:
        memory.add(["ann was here", "ann stays"], ids=["e1", "e2"], subject="ann")
        memory.update("e1", expires_at=start + timedelta(hours=1))
        memory.add("also late", ids="e3", expires_at=start + timedelta(hours=1))
        memory.hold(ids="e3", reason="case 12")
    more = {"adopt": True, "progress": False} if kind is ForgetNet else {}
    given = {"encoder": "hash:32", "key": KEY, "clock": lambda: now[0], **more}
    receipts = tmp_path / "kb" / "receipts"
    with kind.open(tmp_path / "kb", sweep_every=0.01, **given):
        time.sleep(0.1)
        assert list(receipts.iterdir()) == []
        now[0] += timedelta(hours=2)
        end = time.monotonic() + 60
        while not (tmp_path / "kb" / "ledger.jsonl").exists() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)
        assert len(list(receipts.glob("*.json"))) == 1  # what is held is not swept again and again
    assert not [t for t in threading.enumerate() if t.name == "forgetnet-sweeper"]
    assert holding(tmp_path / "kb", b"was here") == []
    assert holding(tmp_path / "kb", b"also late") != []


@pytest.mark.parametrize("every", [0, -1, "x", True, float("nan"), float("inf")])
def test_a_pace_of_sweeps_that_is_none_is_refused(every):
    with pytest.raises(StoreError, match="sweep_every"):
        open_("memory://", sweep_every=every)
