"""Any history of verbs ends in the state of a memory that only ever saw the survivors."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from forgetnet import Memory, Record

KEY = bytes(range(32))
DIM = 16
ENCODER = f"hash:{DIM}"
START = datetime(2026, 1, 1, tzinfo=UTC)

SUBJECTS = ["ann", "bob", "x' OR 1=1 --", "Zoë\n", "ann/bob"]
TOPICS = [None, "health", "health/allergies", "health/allergies/nuts", "healthy", "work/a/b/c"]
TEXTS = st.sampled_from(["ok", "tea at four", "the red kayak", "peanuts\0", "", "naïve 🛶 \u2028"])
QUESTIONS = ["ok tea", "the RED kayak at", "naive 🛶 peanuts", "never said"]


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time


class TwinMachine(RuleBasedStateMachine):
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name) / "kb"
        self.clock = Clock()
        self.live: dict[str, Record] = {}
        self.serial = 0
        self.seed = 0

    @initialize(lance=st.booleans())
    def begin(self, lance: bool) -> None:
        self.url = str(self.path) if lance else "memory://"
        self.memory = self.open(self.url)

    def open(self, url: str) -> Memory:
        return Memory.open(url, encoder=ENCODER, key=KEY, clock=self.clock)

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            self.memory.close()
        self._folder.cleanup()

    @rule(
        target=ids,
        rows=st.lists(
            st.tuples(
                TEXTS,
                st.sampled_from([None, *SUBJECTS]),
                st.sampled_from(TOPICS),
                st.sets(st.sampled_from(SUBJECTS), max_size=1),
                st.none() | st.integers(1, 3),
            ),
            min_size=1,
            max_size=4,
        ),
        source=st.none() | ids,
    )
    def add(self, rows: list[tuple], source: str | None):
        records = []
        for text, subject, topic, mentions, hours in rows:
            self.serial += 1
            records.append(
                Record(
                    text=text,
                    id=f"r{self.serial}'\"\n",
                    subject=subject,
                    topic=topic,
                    mentions=tuple(sorted(mentions)),
                    derived_from=() if source is None else (source,),
                    metadata={"n": self.serial % 3},
                    expires_at=None if hours is None else self.clock() + timedelta(hours=hours),
                )
            )
        found = self.memory.add(records)
        for i in found:
            self.live[i] = self.memory.get(i)
        return multiple(*found)

    @rule(i=ids, text=TEXTS, subject=st.sampled_from(SUBJECTS), topic=st.sampled_from(TOPICS))
    def update(self, i: str, text: str, subject: str, topic: str | None) -> None:
        if self.memory.get(i) is not None:
            self.live[i] = self.memory.update(i, text, subject=subject, topic=topic)

    @rule(i=consumes(ids))
    def delete(self, i: str) -> None:
        done = self.memory.delete(i)
        assert (i in done.deleted) is (i in self.live)
        self.live.pop(i, None)

    @rule(i=consumes(ids))
    def forget_id(self, i: str) -> None:
        self.check(self.memory.forget(ids=i), {i} & set(self.live), {i})

    @rule(subject=st.sampled_from(SUBJECTS), mentions=st.booleans())
    def forget_subject(self, subject: str, mentions: bool) -> None:
        gone = {i for i, r in self.live.items() if r.subject == subject}
        if mentions:
            gone |= {i for i, r in self.live.items() if subject in r.mentions}
        self.check(self.memory.forget(subject=subject, mentions=mentions), gone)

    @rule(topic=st.sampled_from(["health", "health/allergies", "work", "nowhere"]))
    def forget_topic(self, topic: str) -> None:
        gone = {
            i for i, r in self.live.items() if r.topic and (r.topic + "/").startswith(topic + "/")
        }
        self.check(self.memory.forget(topic=topic), gone)

    @rule(n=st.integers(0, 2))
    def forget_filter(self, n: int) -> None:
        gone = {i for i, r in self.live.items() if r.metadata["n"] == n and r.text == "ok"}
        self.check(self.memory.forget(filter={"metadata.n": n, "text": "ok"}), gone)

    @rule(hours=st.integers(1, 2))
    def wait(self, hours: int) -> None:
        self.clock.time += timedelta(hours=hours)

    @rule()
    def sweep(self) -> None:
        now = self.clock()
        self.check(
            self.memory.sweep(),
            {i for i, r in self.live.items() if r.expires_at is not None and r.expires_at <= now},
        )

    def check(self, receipt, gone: set[str], asked: set[str] = frozenset()) -> None:
        """Follow what goes to what was derived from it, and hold the receipt to that."""
        while more := {
            i
            for i, r in self.live.items()
            if i not in gone and (gone | asked) & set(r.derived_from)
        }:
            gone |= more
        for i in gone:
            del self.live[i]
        assert receipt.status == ("erased" if gone else "not_found")
        assert sum(receipt.counts[k] for k in ("direct", "mentions", "derived")) == len(gone)
        assert receipt.check(self.memory.public_key) == []

    @precondition(lambda self: self.url != "memory://")
    @rule()
    def reopen(self) -> None:
        self.memory.close()
        self.memory = self.open(self.url)

    @rule(embeddings=st.booleans())
    def export_import(self, embeddings: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "all.jsonl"
            now = self.clock()
            visible = {
                i for i, r in self.live.items() if r.expires_at is None or r.expires_at > now
            }
            assert self.memory.export(path, embeddings=embeddings) == len(visible)
            with self.open("memory://") as copy:
                assert set(copy.import_(path)) == visible
                assert copy.digest() == self.twin(visible).digest()

    def twin(self, ids: set[str]) -> Memory:
        twin = self.open("memory://")
        twin.add([self.live[i] for i in sorted(ids, reverse=True)])
        return twin

    @invariant()
    def equals_twin(self) -> None:
        if not hasattr(self, "memory"):
            return
        self.seed += 1
        twin = self.twin(set(self.live))
        assert self.memory.digest() == twin.digest()
        assert self.memory.count() == twin.count()
        assert self.memory.get_all() == twin.get_all()
        assert self.memory.topics() == twin.topics()
        query = np.random.default_rng(self.seed).standard_normal(DIM)
        for options in (
            {},
            {"k": 2},
            {"subject": "ann"},
            {"filter": {"$or": [{"metadata.n": 1}, {"topic": "health"}]}},
            {"under": "health"},
            {"near": "health/allergies", "weight": 0.5},
        ):
            assert self.memory.search(query, **options) == twin.search(query, **options)
        said = QUESTIONS[self.seed % len(QUESTIONS)]
        for options in (
            {"mode": "text"},
            {"mode": "text", "k": 2, "filter": {"metadata.n": {"$ne": 1}}},
            {"mode": "text", "subject": "ann", "under": "health"},
            {"mode": "hybrid"},
            {"mode": "hybrid", "k": 1, "near": "health/allergies"},
        ):
            assert self.memory.search(said, **options) == twin.search(said, **options)
        twin.close()


TestTwin = TwinMachine.TestCase
TestTwin.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
