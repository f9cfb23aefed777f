"""Whatever happens to a model, it ends bit for bit as the twin that saw only the survivors."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetnet.model import ForgetNet, Pending
from tests.model.house import DIM, World, opened, router, same, twin, world

ASKED = np.random.default_rng(5).normal(size=(5, DIM)).astype(np.float32)
N = 18
WORLDS = [world(N, seed=seed, classes=classes, subjects=5) for seed, classes in ((0, 3), (1, 2))]

ROWS = st.lists(st.integers(0, N - 1), min_size=1, max_size=9, unique=True)
SUBJECT = st.sampled_from([f"s{i}" for i in range(5)])
SCOPES = st.one_of(
    st.tuples(st.just("ids"), ROWS),
    st.tuples(st.just("subject"), SUBJECT),
    st.tuples(st.just("topic"), st.sampled_from(["work", "work/mail", "home", "nowhere"])),
    st.tuples(st.just("label"), st.sampled_from("abc")),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("learn"), ROWS),
        st.tuples(st.just("learn"), ROWS),
        st.tuples(st.just("forget"), SCOPES),
        st.tuples(st.just("request"), SCOPES),
        st.tuples(st.just("reopen"), st.booleans()),
    ),
    min_size=2,
    max_size=7,
)


def fits(seen: World, row: int, kind: str, value: Any) -> bool:
    """Tell whether a scope takes a row."""
    if kind == "ids":
        return row in value
    if kind == "subject":
        return bool(seen.subjects[row] == value)
    if kind == "label":
        return bool(seen.labels[row] == value)
    topic = seen.topics[row]
    return topic is not None and (topic == value or topic.startswith(value + "/"))


def scope_of(seen: World, kind: str, value: Any) -> dict[str, Any]:
    if kind == "ids":
        return {"ids": [seen.ids[i] for i in value]}
    if kind == "label":
        return {"filter": {"metadata.label": value}}
    return {kind: value}


class History:
    """One model, what has been done to it, and which rows should be left."""

    def __init__(self, seen: World, path: Path | None, kind: str, **plain: Any) -> None:
        self.seen, self.path, self.kind, self.plain = seen, path, kind, plain
        self.live: list[int] = []
        self.expected: list[tuple[str, Any]] = []
        self.pending: list[tuple[Pending, str]] = []
        self.net = self._open()

    def _open(self) -> ForgetNet:
        return opened(self.path or "memory://", self.kind, **self.plain)

    def learn(self, rows: list[int]) -> None:
        fresh = [i for i in rows if i not in self.live]
        if fresh:
            self.seen.learn(self.net, fresh)
            self.live += fresh

    def _takes(self, scope: tuple[str, Any]) -> str:
        if scope[0] == "label" and self.net.stack.task == "regression":
            scope = ("subject", "s0")
        gone = [i for i in self.live if fits(self.seen, i, *scope)]
        self.live = [i for i in self.live if i not in gone]
        return "erased" if gone else "not_found"

    def _scope(self, scope: tuple[str, Any]) -> dict[str, Any]:
        if scope[0] == "label" and self.net.stack.task == "regression":
            scope = ("subject", "s0")
        return scope_of(self.seen, *scope)

    def forget(self, scope: tuple[str, Any]) -> None:
        wanted = self._takes(scope)
        receipt = self.net.forget(**self._scope(scope))
        assert receipt.status == wanted, receipt.explain()

    def request(self, scope: tuple[str, Any]) -> None:
        wanted = self._takes(scope)
        self.pending.append((self.net.request(**self._scope(scope)), wanted))

    def reopen(self, wait: bool) -> None:
        if self.path is None:
            return
        self.net.close(wait=wait)
        self.net = self._open()
        if not wait:
            self.pending = [p for p in self.pending if not p[0]._future.exception()]
        for file in (self.path / "receipts").iterdir():
            assert '"failed"' not in file.read_text()

    def end(self) -> None:
        for pending, wanted in self.pending:
            receipt = pending.receipt(60)
            assert receipt.status == wanted, receipt.explain()
        other = twin(self.seen, self.live, self.kind, **self.plain)
        same(self.net, other, ASKED)
        self.net.close()
        if self.path is not None:
            assert not list((self.path / "journal").iterdir())
            named = {slot.file for row in self.net._core.shelf.slots.values() for slot in row}
            there = {file.name for file in (self.path / "experts").iterdir()}
            assert there == named | {"manifest.json"}
            again = self._open()
            same(again, other, ASKED)
            again.close()
        other.close()


def run(history: History, steps: list[tuple[str, Any]]) -> None:
    for verb, value in steps:
        getattr(history, verb)(value)
    history.end()


LAYOUTS = [
    ("sums", "classification", "subject"),
    ("torch", "classification", "subject"),
    ("slices", "classification", "subject"),
    ("slices", "classification", "topic-record"),
    ("torch", "classification", "topic-subject"),
    ("leaves", "classification", "subject"),
    ("tree", "classification", "subject"),
    ("memory", "classification", "subject"),
    ("slices", "regression", "subject"),
    ("tree", "regression", "topic-record"),
    ("sums", "regression", "subject"),
]
NAMED = ["-".join(layout) for layout in LAYOUTS]


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMED)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, which=st.integers(0, 1), cap=st.sampled_from([1, 3, 6, 50]))
def test_any_history_in_memory_ends_as_the_twin(
    layout: tuple[str, Any, str], steps: list[Any], which: int, cap: int
) -> None:
    kind, task, by = layout
    run(History(WORLDS[which], None, kind, task=task, router=router(by), cap=cap), steps)


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMED)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, which=st.integers(0, 1), cap=st.sampled_from([1, 3, 6, 50]))
def test_any_history_on_disk_ends_as_the_twin(
    layout: tuple[str, Any, str], steps: list[Any], which: int, cap: int
) -> None:
    kind, task, by = layout
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        run(History(WORLDS[which], path, kind, task=task, router=router(by), cap=cap), steps)
        shutil.rmtree(path)
