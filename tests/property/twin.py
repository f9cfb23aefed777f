"""The machine of any history: verbs at random, and a memory that only ever saw the survivors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
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

from forgetnet import Held, Hit, InvalidRecord, Memory, Receipt, Record
from forgetnet.record import normalise
from tests.property.should import Should
from tests.property.small import one_list

__all__ = ["SUBJECTS", "TEXTS", "TOPICS", "TwinMachine"]

KEY = bytes(range(32))
DIM = 16
ENCODER = f"hash:{DIM}"
START = datetime(2026, 1, 1, tzinfo=UTC)

SUBJECTS = ["ann", "bob", "x' OR 1=1 --", "Zoë\n", "ann/bob"]
TOPICS = [None, "health", "health/allergies", "health/allergies/nuts", "healthy", "work/a/b/c"]
TEXTS = st.sampled_from(["ok", "tea at four", "the red kayak", "peanuts\0", "", "naïve 🛶 \u2028"])
QUESTIONS = ["ok tea", "the RED kayak at", "naive 🛶 peanuts", "never said"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"k": 2},
    {"subject": "ann"},
    {"filter": {"$or": [{"metadata.n": 1}, {"topic": "health"}]}},
    {"under": "health"},
    {"near": "health/allergies", "weight": 0.5},
    {"mode": "text"},
    {"mode": "text", "k": 2, "filter": {"metadata.n": {"$ne": 1}}},
    {"mode": "text", "subject": "ann", "under": "health"},
    {"mode": "hybrid"},
    {"mode": "hybrid", "k": 1, "near": "health/allergies"},
]

T = TypeVar("T")
E = TypeVar("E")


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time


def answers(memory: Memory, seed: int, **more: Any) -> list[list[Hit]]:
    """Ask by meaning, by words, by both, and in scopes."""
    vector = np.random.default_rng(seed).standard_normal(DIM)
    said = QUESTIONS[seed % len(QUESTIONS)]
    return [memory.search(said if "mode" in o else vector, **o, **more) for o in OPTIONS]


class TwinMachine(RuleBasedStateMachine):
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(self._folder.name).resolve()
        self.path = self.root / "kb"
        self.clock = Clock()
        self.now = Should()
        self.serial = 0
        self.seed = 0

    @initialize(lance=st.booleans())
    def begin(self, lance: bool) -> None:
        self.url = str(self.path) if lance else "memory://"
        self.memory = self.open(self.url)

    def open(self, url: str, **more: Any) -> Memory:
        return Memory.open(url, encoder=ENCODER, key=KEY, clock=self.clock, **more)

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            self.memory.close()
        self._folder.cleanup()

    def change(self, verb: Callable[[], T], follow: Callable[[Should], E]) -> tuple[T | None, E]:
        """Do something, and follow what should come of it; return what came, and what should."""
        later = self.now.copy()
        expected = follow(later)
        came = verb()
        self.now = later
        return came, expected

    def say(self, text: str) -> str:
        """Return a text as it is stored."""
        return text

    # -- verbs

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
                    text=self.say(text),
                    id=f"r{self.serial}'\"\n",
                    subject=subject,
                    topic=topic,
                    mentions=tuple(sorted(mentions)),
                    derived_from=() if source is None else (source,),
                    metadata={"n": self.serial % 3},
                    expires_at=None if hours is None else self.clock() + timedelta(hours=hours),
                )
            )
        return multiple(*self.put(records))

    def put(self, records: list[Record]) -> list[str]:
        """Add records, or see them refused; return the ids of those that are new."""
        if any(map(self.now.refuses, records)):
            with pytest.raises(InvalidRecord, match="forgotten before"):
                self.memory.add(records)
            return []
        known = [normalise(record, self.clock()) for record in records]
        found, _ = self.change(lambda: self.memory.add(records), lambda now: now.put(known))
        ids = [record.id for record in known]
        assert found in (None, ids)
        return ids

    @rule(i=ids, text=TEXTS, subject=st.sampled_from(SUBJECTS), topic=st.sampled_from(TOPICS))
    def update(self, i: str, text: str, subject: str, topic: str | None) -> None:
        if i not in self.now.live:
            return
        given = {"text": self.say(text), "subject": subject, "topic": topic}
        wanted = replace(self.now.live[i], **given)
        if i in self.now.held():
            with pytest.raises(Held):
                self.memory.update(i, **given)
        elif self.now.refuses(wanted, ids=False):
            with pytest.raises(InvalidRecord, match="forgotten before"):
                self.memory.update(i, **given)
        else:
            found, _ = self.change(
                lambda: self.memory.update(i, **given), lambda now: now.put([wanted])
            )
            assert found in (None, wanted)

    @rule(i=ids)
    def delete(self, i: str) -> None:
        if i in self.now.held():
            with pytest.raises(Held):
                self.memory.delete(i)
            return
        done, was = self.change(lambda: self.memory.delete(i), lambda now: now.delete(i))
        assert done is None or (i in done.deleted) is was

    @rule(i=consumes(ids))
    def forget_id(self, i: str) -> None:
        self.forget(lambda: self.memory.forget(ids=i), {i} & self.now.live.keys(), {i})

    @rule(subject=st.sampled_from(SUBJECTS), mentions=st.booleans())
    def forget_subject(self, subject: str, mentions: bool) -> None:
        self.forget(
            lambda: self.memory.forget(subject=subject, mentions=mentions),
            self.now.where(lambda r: r.subject == subject or (mentions and subject in r.mentions)),
        )

    @rule(topic=st.sampled_from(["health", "health/allergies", "work", "nowhere"]))
    def forget_topic(self, topic: str) -> None:
        self.forget(
            lambda: self.memory.forget(topic=topic),
            self.now.where(lambda r: r.topic and (r.topic + "/").startswith(topic + "/")),
        )

    @rule(n=st.integers(0, 2))
    def forget_filter(self, n: int) -> None:
        self.forget(
            lambda: self.memory.forget(filter={"metadata.n": n, "text": "ok"}),
            self.now.where(lambda r: r.metadata["n"] == n and r.text == "ok"),
        )

    @rule(hours=st.integers(1, 2))
    def wait(self, hours: int) -> None:
        self.clock.time += timedelta(hours=hours)

    @rule()
    def sweep(self) -> None:
        now = self.clock()
        due = self.now.where(lambda r: r.expires_at is not None and r.expires_at <= now)
        self.forget(self.memory.sweep, due)

    def forget(
        self, verb: Callable[[], Receipt], direct: set[str], asked: Collection[str] = ()
    ) -> None:
        """Forget, and hold the receipt to what should be gone."""
        receipt, (matched, kept) = self.change(verb, lambda now: now.forget(direct, asked))
        if receipt is not None:
            self.check(receipt, matched, kept)

    def check(self, receipt: Receipt, matched: set[str], kept: set[str]) -> None:
        wanted = "unsupported" if kept else "erased" if matched else "not_found"
        assert receipt.status == wanted
        assert sum(receipt.counts[k] for k in ("direct", "mentions", "derived")) == len(matched)
        assert receipt.check(self.memory.public_key) == []

    @precondition(lambda self: self.url != "memory://")
    @rule()
    def reopen(self) -> None:
        self.memory.close()
        self.memory = self.open(self.url)

    @rule(embeddings=st.booleans())
    def export_import(self, embeddings: bool) -> None:
        path = self.root / "all.jsonl"
        now = self.clock()
        visible = self.now.where(lambda r: r.expires_at is None or r.expires_at > now)
        assert self.memory.export(path, embeddings=embeddings) == len(visible)
        with self.open("memory://") as copy, self.twin(visible) as twin:
            assert set(copy.import_(path)) == visible
            self.compare(copy, twin, answers(twin, self.seed))

    # -- what must be true

    def twin(self, ids: Iterable[str], should: Should | None = None) -> Memory:
        twin = self.open("memory://")
        live = (should or self.now).live
        twin.add([live[i] for i in sorted(ids, reverse=True)])
        return twin

    @invariant()
    def equals_twin(self) -> None:
        if hasattr(self, "memory"):
            self.seed += 1
            self.held_to([self.memory], self.now)

    def held_to(self, memories: Collection[Memory], should: Should) -> None:
        """Hold memories to twins of what there should be."""
        with self.twin(should.live, should) as twin:
            if hidden := should.hidden():
                # What may not be searched must not even steer where a search looks: at all codes.
                with one_list(), self.twin(should.live.keys() - hidden, should) as seen:
                    wanted = answers(seen, self.seed)
            else:
                wanted = answers(twin, self.seed)
            for memory in memories:
                self.compare(memory, twin, wanted)

    def compare(self, memory: Memory, twin: Memory, wanted: list[list[Hit]]) -> None:
        assert memory.digest() == twin.digest()
        assert memory.count() == twin.count()
        assert memory.get_all() == twin.get_all()
        assert memory.topics() == twin.topics()
        assert answers(memory, self.seed) == wanted
