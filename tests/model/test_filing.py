"""Verbs that file, link, draw and propose, on a model: exact, as its memory's are.

Experts learn vectors, labels and whose a record is; where it is filed teaches them nothing.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetnet import (
    Held,
    InvalidRecord,
    InvalidScope,
    Memory,
    Record,
    StoreError,
)
from forgetnet.experts.prototype import PrototypeExpert
from forgetnet.linking import Linked
from forgetnet.model import ForgetNet
from forgetnet.taxonomy import renamed
from tests.fallback import house as fallback
from tests.faults.cuts import PowerCutError, failing
from tests.forget.test_keeping import holding
from tests.model.house import DIM, KEY, NOW, Watched, World, opened, router, same, twin, world

ASKED = np.random.default_rng(5).normal(size=(5, DIM)).astype(np.float32)
N = 18
SEEN = world(N, subjects=5)
MOVED = {"work/mail": "home/post", "work": "home", "home": "work"}
TOPICS = ("work", "work/mail", "home", "home/post", "job", "job/of/ann")


def filed(seen: World, moved: Mapping[str, str]) -> World:
    topics = tuple(None if topic is None else renamed(topic, moved) for topic in seen.topics)
    return replace(seen, topics=topics)


def learnt(
    path: Path | str = "memory://", kind: str = "slices", *, seen: World = SEEN, **more: Any
) -> ForgetNet:
    net = opened(path, kind, **more)
    seen.learn(net, range(N))
    return net


def part_of(net: ForgetNet) -> Linked:
    return next(p for p in net._memory._office.components if isinstance(p, Linked))


def linked_alike(net: ForgetNet, other: ForgetNet) -> None:
    """Hold links to those of the twin, where there is anything to learn from."""
    try:
        wanted = other.link().digest()
    except InvalidRecord:
        assert not len(net.links())
    else:
        assert net.links().digest() == wanted


# -- topics


@pytest.mark.parametrize("by", ["subject", "topic-record"])
@pytest.mark.parametrize("kind", ["sums", "slices", "tree", "memory"])
def test_a_model_whose_topics_moved_is_the_one_that_was_filed_so(tmp_path, kind, by):
    trainer = Watched()
    more = {"router": router(by)}
    with learnt(tmp_path / "m", kind, trainer=trainer, **more) as net:
        before = net.predict_proba(ASKED), net.digest()
        states = {p: p.stat().st_mtime_ns for p in (tmp_path / "m" / "experts").iterdir()}
        trainer.jobs.clear()
        done = net.refile(MOVED)
        assert done.records == sum(topic is not None for topic in SEEN.topics)
        assert not trainer.jobs
        assert {p: p.stat().st_mtime_ns for p in (tmp_path / "m" / "experts").iterdir()} == states
        assert net.predict_proba(ASKED).tobytes() == before[0].tobytes()
        assert net.digest() == before[1]
        assert not holding(tmp_path / "m", b"work/mail")
        with twin(filed(SEEN, MOVED), range(N), kind, **more) as other:
            same(net, other, ASKED)
            for topic in ("work", "home", "home/post"):
                assert net.plan(topic=topic).ids == other.plan(topic=topic).ids
            assert net.forget(topic="home").status == other.forget(topic="home").status == "erased"
            same(net, other, ASKED)
    with opened(tmp_path / "m", kind, **more) as net:
        left = [i for i in range(N) if (SEEN.topics[i] or "").partition("/")[0] != "work"]
        with twin(filed(SEEN, MOVED), left, kind, **more) as other:
            same(net, other, ASKED)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("learn"), st.lists(st.integers(0, N - 1), min_size=1, max_size=9)),
        st.tuples(st.just("move"), st.tuples(st.sampled_from(TOPICS), st.sampled_from(TOPICS))),
        st.tuples(st.just("forget"), st.sampled_from(TOPICS)),
        st.tuples(st.just("request"), st.sampled_from(TOPICS)),
        st.tuples(st.just("mean"), st.integers(0, N - 1)),
        st.tuples(st.just("link"), st.none()),
        st.tuples(st.just("reopen"), st.booleans()),
    ),
    min_size=2,
    max_size=8,
)


class Story:
    """A model that is filed, linked and forgets, and what should be left of it."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind, self.linked = path, kind, False
        self.seen, self.live = SEEN, list[int]()
        self.net = opened(path, kind)

    def learn(self, rows: list[int]) -> None:
        if fresh := [i for i in dict.fromkeys(rows) if i not in self.live]:
            self.seen.learn(self.net, fresh)
            self.live += fresh

    def under(self, topic: str) -> list[int]:
        return [i for i in self.live if f"{self.seen.topics[i] or ''}/".startswith(f"{topic}/")]

    def move(self, pair: tuple[str, str]) -> None:
        old, new = pair
        if f"{new}/".startswith(f"{old}/"):
            return
        moving = self.under(old)
        try:
            assert self.net.move_topic(old, new).records == len(moving)
        except InvalidScope:
            assert not moving
        else:
            topics = list(self.seen.topics)
            for i in moving:
                topics[i] = renamed(topics[i] or "", {old: new})
            self.seen = replace(self.seen, topics=tuple(topics))

    def forget(self, topic: str) -> None:
        gone = self.under(topic)
        receipt = self.net.forget(topic=topic)
        assert receipt.status == ("erased" if gone else "not_found"), receipt.explain()
        self.live = [i for i in self.live if i not in gone]

    def request(self, topic: str) -> None:
        gone = self.under(topic)
        self.net.request(topic=topic)
        self.live = [i for i in self.live if i not in gone]

    def mean(self, row: int) -> None:
        if row not in self.live:
            return
        scope = self.net.scope(self.seen.vectors[row], recall=0.5, topics=[])
        if not len(scope) or scope.is_everything:
            return
        confirmed = scope.confirm()
        assert set(self.net.plan(scope=confirmed).ids) == set(confirmed.ids)
        receipt = self.net.request(scope=confirmed).receipt(60)
        assert receipt.status == "erased", receipt.explain()
        self.live = [i for i in self.live if self.seen.ids[i] not in confirmed.ids]

    def link(self, _: None) -> None:
        with contextlib.suppress(InvalidRecord):  # one topic only
            self.net.link()
            self.linked = True

    def reopen(self, wait: bool) -> None:
        self.net.close(wait=wait)
        self.net = opened(self.path, self.kind)
        self.linked = False

    def end(self) -> None:
        with twin(self.seen, self.live, self.kind) as other:
            same(self.net, other, ASKED)
            assert self.net.memory.topics() == other.memory.topics()
            if self.linked:
                linked_alike(self.net, other)
        self.net.close()
        for file in (self.path / "receipts").iterdir():
            assert '"failed"' not in file.read_text()


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, kind=st.sampled_from(["sums", "slices", "memory"]))
def test_whatever_is_moved_linked_and_forgotten_the_model_ends_as_the_twin(steps, kind):
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder) / "m", kind)
        for verb, value in [("learn", list(range(12))), *steps]:
            getattr(story, verb)(value)
        story.end()


def let_go(net: ForgetNet) -> None:
    """Let go of what a process that is gone would have let go of."""
    lock = net._parts.store._lock
    if lock is not None:
        with contextlib.suppress(OSError):
            lock.release()
        net._parts.store._lock = None


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_cut_at_any_durable_step_of_a_move_the_experts_are_as_they_were(tmp_path, late):
    learnt(tmp_path / "first").close()
    with twin(SEEN, range(N), "slices") as before, twin(
        filed(SEEN, MOVED), range(N), "slices"
    ) as after:
        ends, came, at = set(), True, 0
        while came:
            at += 1
            path = tmp_path / "m"
            shutil.copytree(tmp_path / "first", path)
            net = opened(path, "slices")
            came = False
            with failing(at, PowerCutError, after=late):
                try:
                    net.refile(MOVED)
                except PowerCutError:
                    came = True
            let_go(net)
            trainer = Watched()
            with opened(path, "slices", trainer=trainer) as again:
                done = again.memory.digest() == after.memory.digest()
                same(again, after if done else before, ASKED)
                assert not trainer.jobs
            assert not list((path / "journal").iterdir())
            assert not done or not holding(path, b"work/mail")
            ends.add(done)
            shutil.rmtree(path)
    assert ends == {False, True} and at > 5


def test_what_may_not_move_stops_the_whole_move(tmp_path):
    with learnt(tmp_path / "m", "sums") as net:
        before = net.memory.digest()
        hold = net.hold(ids="r1", reason="case 12")
        with pytest.raises(Held, match=hold.name):
            net.move_topic("work", "job")
        with pytest.raises(InvalidScope, match="nothing is filed under"):
            net.move_topic("nowhere", "job")
        with pytest.raises(InvalidRecord, match="nor under itself"):
            net.move_topic("work", "work/old")
        assert net.memory.digest() == before
        net.lift(hold.name)
        found = [topic for topic in SEEN.topics if (topic or "").startswith("work")]
        assert net.move_topic("work", "job").records == len(found)
    head = fallback.part(None)
    plain = {"encoder": f"vectors:{fallback.DIM}", "experts": [PrototypeExpert()]}
    net = ForgetNet.open(**plain, models=[head])
    with net, pytest.raises(StoreError, match="head learnt from this memory as it is filed"):
        net.move_topic("work", "job")


def test_a_move_waits_for_what_is_being_forgotten_and_moves_none_of_it():
    trainer = Watched()
    with learnt(trainer=trainer) as net:
        trainer.hold()
        pending = net.request(subject="s1")
        done: list[int] = []
        mover = threading.Thread(target=lambda: done.append(net.move_topic("work", "job").records))
        mover.start()
        assert trainer.at.wait(30) and not done
        trainer.may.set()
        mover.join(60)
        assert pending.receipt(60).status == "erased"
        left = SEEN.but("s1")
        assert done == [sum((SEEN.topics[i] or "").startswith("work") for i in left)]
        with twin(filed(SEEN, {"work": "job"}), left, "slices") as other:
            same(net, other, ASKED)


# -- links


def test_links_are_a_part_of_a_models_forget_and_those_of_the_twin():
    with learnt() as net:
        net.link()
        assert any(step.component == "links" for step in net.plan(subject="s2").steps)
        receipt = net.forget(subject="s2")
        surface = next(s for s in receipt.surfaces if s.name == "links")
        assert (receipt.status, surface.status) == ("erased", "erased")
        with twin(SEEN, SEEN.but("s2"), "slices") as other:
            linked_alike(net, other)
            same(net, other, ASKED)


def test_links_let_go_under_the_lock_although_experts_learn_without_it(monkeypatch):
    """Else a request that is accepted meanwhile finds votes that are half taken back."""
    with learnt() as net:
        net.link()
        part = part_of(net)
        held: list[tuple[str, bool]] = []
        store = part._store

        class Seen:
            def __getattr__(self, name: str) -> Any:
                held.append((threading.current_thread().name, net._parts.lock._is_owned()))
                return getattr(store, name)

        part._store = Seen()
        assert net.request(subject="s1").receipt(60).status == "erased"
        assert "forgetnet" in dict(held) and all(owned for _, owned in held)


@pytest.mark.parametrize("kind", ["expert", "model"])
def test_links_take_no_name_that_another_part_has(kind):
    """Notes in the journal and lines of receipts are told apart by name."""
    if kind == "expert":
        net: Any = opened("memory://", experts=[PrototypeExpert(name="links")])
        SEEN.learn(net, range(N))
    else:
        net = Memory.open("memory://", encoder=f"vectors:{fallback.DIM}", models=fallback.part(
            None, name="links"
        ))  # fmt: skip
        net.add([replace(r, topic="ab"[n % 2]) for n, r in enumerate(fallback.records(("ann",)))])
    with net:
        with pytest.raises(InvalidRecord, match="another part of this memory is called 'links'"):
            net.link()
        with pytest.raises(InvalidScope, match="call link"):
            net.links()


# -- proposals


@pytest.mark.parametrize("verb", ["forget", "request"])
def test_a_confirmed_scope_is_forgotten_as_by_a_model_that_never_saw_it(tmp_path, verb):
    with learnt(tmp_path / "m") as net:
        scope = net.scope(SEEN.vectors[0], recall=0.5, topics=[])
        with pytest.raises(InvalidScope, match="confirm"):
            getattr(net, verb)(scope=scope)
        with pytest.raises(InvalidScope, match="confirm"):
            net.plan(scope=scope)
        confirmed = scope.confirm()
        for beside in ({"ids": "r0"}, {"subject": "s1"}, {"topic": "work"}, {"filter": {}}):
            with pytest.raises(InvalidScope, match="leave out the other scopes"):
                getattr(net, verb)(scope=confirmed, **beside)
        assert net.count() == N and 0 < len(confirmed) < N
        assert set(net.plan(scope=confirmed).ids) == set(confirmed.ids)
        done = getattr(net, verb)(scope=confirmed)
        receipt = done.receipt(60) if verb == "request" else done
        assert receipt.status == "erased" and receipt.erasure.proposal.proposed == len(confirmed)
        left = [i for i in range(N) if SEEN.ids[i] not in confirmed.ids]
        with twin(SEEN, left, "slices") as other:
            same(net, other, ASKED)


def test_a_scope_of_another_model_or_of_records_that_were_filed_anew_is_refused():
    with learnt() as net, learnt(key=bytes(32)) as other:
        confirmed = net.scope(SEEN.vectors[1], recall=0.5, topics=["work"]).confirm()
        with pytest.raises(InvalidScope, match="not proposed by this memory"):
            other.request(scope=confirmed)
        net.move_topic("work", "job")
        with pytest.raises(InvalidScope, match="have changed since it was proposed"):
            net.request(scope=confirmed)
        assert net.count() == other.count() == N


# -- maps


def test_a_model_is_drawn_as_its_memory_is_and_says_what_would_go(tmp_path):
    moments, end = [NOW], NOW + timedelta(days=1)
    clock = lambda: moments[-1]  # noqa: E731 - as a user would write it
    with learnt(tmp_path / "m", "sums", clock=clock) as net:
        net.partial_fit([Record(id="x", vector=SEEN.vectors[0], topic="home")])
        net.partial_fit([Record(id="y", vector=SEEN.vectors[0], topic="home", expires_at=end)])
        assert len(net.map().chart) == N + 2
        moments.append(end)
        drawn = net.map(topic="work", after=True)
        assert drawn.chart.taken is not None
        assert drawn.chart.taken.ids == frozenset(net.plan(topic="work").ids)
        under = net.map("work")
        assert net.count() == N
        whole = net.map()
    plain = {"encoder": f"vectors:{DIM}", "key": KEY, "clock": clock}
    with Memory.open(tmp_path / "m", **plain, readonly=True) as memory:
        for mine, theirs in ((whole, memory.map()), (under, memory.map("work"))):
            assert mine.svg() == theirs.svg()
        assert len(whole.chart) == len(memory.get_all()) == N + 1
