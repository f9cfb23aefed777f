"""Whatever was done to a Lance store, it is the store that never saw what is gone."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from forgetnet.record import Record
from forgetnet.shards import leaves, shard_key
from forgetnet.store import Floats, Query, TextQuery
from forgetnet_stores.lance import LanceStore, engine
from forgetnet_stores.lance.catalogue import Manifest
from forgetnet_stores.memory import MemoryStore
from tests.contract.kit import (
    SALT,
    Reference,
    config,
    places,
    record,
    rows_on_disk,
    some_cone,
    strays,
    vectors,
)

SUBJECTS = st.sampled_from([None, *"abcdefgh"])
SEEDS = st.integers(0, 10_000)


class StoreMachine(RuleBasedStateMachine):
    """A store of small leaves, a reader beside it, and a model in plain Python."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.path = self.root / "store"
        self.model = Reference({})
        self.dirty = False
        self.count = 0

    @initialize(cap=st.integers(4, 8))
    def begin(self, cap: int) -> None:
        self.cap = cap
        self.store = LanceStore(self.path, config(cap))
        self.reader = LanceStore(self.path, config(cap, readonly=True))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.reader.close()
        shutil.rmtree(self.root)

    def put(self, records: list[Record], seed: int, *, replace: bool) -> None:
        content, place = vectors(len(records), seed), places(max(len(records) // 2, 1), seed)
        place = place[np.arange(len(records)) % len(place)]
        if seed % 3 == 0:
            content = np.repeat(content[:1], len(records), axis=0)  # ties
        self.store.add(records, content, place, replace=replace)
        self.dirty |= any(r.id in self.model.rows for r in records)
        self.model.rows |= Reference.of(records, content, place).rows

    def made(self, n: int, subjects: list[str | None]) -> list[Record]:
        self.count += n
        return [
            record(f"{self.count - i}", f"text {self.count}", subject=subjects[i % len(subjects)])
            for i in range(n)
        ]

    def some(self, seed: int, most: int) -> list[str]:
        ids = sorted(self.model.rows)
        return np.random.default_rng(seed).permutation(ids)[:most].tolist()

    @rule(n=st.integers(1, 5), subjects=st.lists(SUBJECTS, min_size=1, max_size=5), seed=SEEDS)
    def add_a_few(self, n: int, subjects: list[str | None], seed: int) -> None:
        self.put(self.made(n, subjects), seed, replace=False)

    @rule(n=st.integers(16, 30), subjects=st.lists(SUBJECTS, min_size=1, max_size=9), seed=SEEDS)
    def add_many(self, n: int, subjects: list[str | None], seed: int) -> None:
        self.put(self.made(n, subjects), seed, replace=False)

    @precondition(lambda self: self.model.rows)
    @rule(n=st.sampled_from([1, 3, 20]), subjects=st.lists(SUBJECTS, min_size=1), seed=SEEDS)
    def replace_some(self, n: int, subjects: list[str | None], seed: int) -> None:
        old = [record(i, "new", subject=subjects[0]) for i in self.some(seed, n)]
        self.put(old + self.made(len(subjects) - 1, subjects), seed, replace=True)

    @precondition(lambda self: self.model.rows)
    @rule(seed=SEEDS, n=st.sampled_from([1, 4, 12]))
    def delete_some(self, seed: int, n: int) -> None:
        self.gone(self.some(seed, n))

    @rule(subject=SUBJECTS)
    def delete_a_subject(self, subject: str | None) -> None:
        self.gone([r.id for r in self.store.scan({"subject": subject})])

    def gone(self, ids: list[str]) -> None:
        assert sorted(self.store.delete([*ids, "never"])) == sorted(ids)
        self.dirty |= bool(ids)
        for i in ids:
            del self.model.rows[i]

    @rule()
    def purge(self) -> None:
        done = self.store.purge()
        assert self.dirty or done.pieces == 0
        self.dirty = False
        live = {id: r for id, (r, _, _) in self.model.rows.items()}
        assert sorted(row["id"] for row in rows_on_disk(self.path)) == sorted(live)
        assert self.store.purge().pieces == 0

    @rule(crash=st.booleans())
    def reopen(self, crash: bool) -> None:
        state = self.store.state()
        if crash:
            self.store._pulse.close()
            self.store._lock.release()
        else:
            self.store.close()
        self.store = LanceStore(self.path, config(99))
        assert self.store.state() == state

    @rule()
    def reopen_the_reader(self) -> None:
        self.reader.close()
        self.reader = LanceStore(self.path, config(readonly=True))

    @rule(seed=SEEDS)
    def look_closely(self, seed: int) -> None:
        """Ask everything, everyone, by every path."""
        rows = list(self.model.rows.values())
        where = {"subject": {"$in": ["a", "b"]}}
        queries = [Query(vectors(1, seed)[0], k) for k in (1, 7, 100)]
        if rows:
            queries.append(Query(rows[seed % len(rows)][1], 5))
        place: Floats = np.stack([p for _, _, p in rows]) if rows else places(1)
        cone = some_cone(seed, place)
        for one in (self.store, self.reader):
            for query in queries:
                wanted = self.model.search(query)
                assert one.search(query) == one.search(query, "lancedb") == wanted
            assert one.cone(cone) == one.cone(cone, "lancedb") == self.model.cone(cone)
            asked = Query(queries[0].vector, 9, where, cone)
            assert one.search(asked) == self.model.search(asked)

    @invariant()
    def is_the_twin_that_never_saw_it(self) -> None:
        if not hasattr(self, "store"):
            return
        rows = self.model.rows
        records = [r for r, _, _ in rows.values()]
        twin = MemoryStore(Path(), config())
        if rows:
            matrices = (
                np.stack(m) for m in zip(*[(c, p) for _, c, p in rows.values()], strict=True)
            )
            twin.add(records, *matrices)
        for one in (self.reader, self.store):
            assert one.count() == len(rows)
            assert one.get([*rows, "never"]) == {r.id: r for r in records}
            assert one.digest() == twin.digest()
            asked = TextQuery(f"new text {self.count}", 7)
            assert one.words(asked) == twin.words(asked)
            assert one.state() == self.store.state()
            mine = {r.id for r in records if r.subject == "a"}
            assert {r.id for r in one.scan({"subject": "a"})} == mine
        assert not strays(self.path)
        if not self.dirty:
            counts = Counter(shard_key(SALT, r.subject or r.id) for r in records)
            assert sorted(Manifest.load(self.path).leaves) == leaves(counts, self.cap)


def test_any_history_ends_as_if_what_is_gone_had_never_been(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_LARGE", 16)
    monkeypatch.setattr("forgetnet_stores.lance.fold._TAIL_BYTES", 6_000)
    StoreMachine.TestCase.settings = settings(
        max_examples=12,
        stateful_step_count=25,
        suppress_health_check=list(HealthCheck),
    )
    StoreMachine.TestCase().runTest()
