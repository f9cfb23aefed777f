"""Crowds: threads and processes that read while one writes see whole answers, and nothing gone."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from forgetnet import Held, Memory
from forgetnet.store import Query
from forgetnet_stores.lance import LanceStore, fold
from forgetnet_stores.lance.state import State
from tests.contract.kit import config, fill, record, vectors
from tests.faults.crowd import (
    VERSIONS,
    Asker,
    Board,
    attempt,
    opened,
    record_of,
    serve,
    text_of,
)

THREADS, PROCESSES = 8, 3
SPAWN = multiprocessing.get_context("spawn")


class Author:
    """The one writer: does everything there is, and tells the board before and after."""

    def __init__(self, memory: Memory, board: Board, seed: int) -> None:
        self._memory = memory
        self._board = board
        self._chance = random.Random(seed)
        self._live: dict[int, dict[int, int]] = {}  # batch to number to version
        self._numbers = 0
        self.done: Counter[str] = Counter()
        self._verbs: list[Callable[[], None]] = [
            self.add, self.add, self.add_many, self.update, self.update, self.delete, self.forget,
            self.forget_one, self.restrict, self.hold, self.quiet, self.purge,
        ]  # fmt: skip

    def begin(self) -> None:
        for _ in range(10):
            self.add()

    def go_on(self) -> None:
        """Do one thing, each as often as the others."""
        least = min(self.done[verb.__name__] for verb in self._verbs)
        verb = self._chance.choice([v for v in self._verbs if self.done[v.__name__] == least])
        if sum(map(len, self._live.values())) < 60:
            verb = self.add
        verb()
        self.done[verb.__name__] += 1
        time.sleep(0.02)  # the threads wait for the same lock, which favours whoever has it

    def is_through(self) -> bool:
        """Tell whether everything was done at least once."""
        return all(self.done[verb.__name__] for verb in self._verbs)

    # -- telling the board

    def _new(self, size: int, *, whole: bool) -> int:
        """Announce a batch to come."""
        board = self._board
        batch = len(self._live) + 1 + int(board.batches[0]) - len(self._live)
        board.first[batch], board.size[batch] = self._numbers, size
        board.whole[batch] = whole
        self._numbers += size
        board.batches[0] = batch
        self._live[batch] = {}
        return batch

    def _came(self, batch: int, numbers: range) -> None:
        self._live[batch].update(dict.fromkeys(numbers, 0))
        self._board.born[numbers.start : numbers.stop, 0] = time.monotonic_ns()

    @contextmanager
    def _going(self, batch: int, numbers: list[int]) -> Iterator[list[str]]:
        """Announce that records go, and then that they are gone."""
        self._board.leaving[numbers] = time.monotonic_ns()
        yield [f"id-{n}" for n in numbers]
        self._board.over[numbers] = time.monotonic_ns()
        for n in numbers:
            del self._live[batch][n]
        if not self._live[batch]:
            del self._live[batch]

    def _pick(self, *, whole: bool | None = None) -> int:
        told = self._board.whole
        fit = [b for b in self._live if whole is None or bool(told[b]) == whole]
        if not fit:
            self.add(whole=whole)
            return self._pick(whole=whole)
        return self._chance.choice(fit)

    # -- verbs

    def _add(self, size: int, *, whole: bool) -> None:
        batch = self._new(size, whole=whole)
        numbers = range(self._numbers - size, self._numbers)
        self._memory.add([record_of(n, 0, batch) for n in numbers])
        self._came(batch, numbers)

    def add(self, whole: bool | None = None) -> None:
        chosen = self._chance.random() < 0.7 if whole is None else whole
        self._add(self._chance.randint(2, 9), whole=chosen)

    def add_many(self) -> None:
        self._add(300, whole=True)  # so many go straight into a piece

    def update(self) -> None:
        """Change records at the pace of the disk, so that answers are overtaken."""
        batch = self._pick()
        for n, version in list(self._live[batch].items())[:9]:
            if version < VERSIONS - 1:
                self._change(batch, n, version)

    def _change(self, batch: int, n: int, version: int) -> None:
        self._board.latest[0] = batch
        self._board.leaving[n, version] = time.monotonic_ns()
        metadata = {"n": n, "version": version + 1}
        self._memory.update(f"id-{n}", text_of(n, version + 1, batch), metadata=metadata)
        now = time.monotonic_ns()
        self._board.over[n, version] = self._board.born[n, version + 1] = now
        self._live[batch][n] = version + 1

    def delete(self) -> None:
        batch = self._pick(whole=True)
        with self._going(batch, list(self._live[batch])) as ids:
            assert set(self._memory.delete(ids).deleted) == set(ids)

    def forget(self) -> None:
        batch = self._pick(whole=True)
        with self._going(batch, list(self._live[batch])):
            receipt = self._memory.forget(subject=f"s{batch}")
        assert receipt.status == "erased", receipt.surfaces

    def forget_one(self) -> None:
        batch = self._pick(whole=False)
        n = self._chance.choice(list(self._live[batch]))
        with self._going(batch, [n]) as ids:
            assert self._memory.forget(ids=ids).status == "erased"

    def restrict(self) -> None:
        batch = self._pick(whole=True)
        self._board.hiding[batch] = time.monotonic_ns()
        mark = self._memory.restrict(subject=f"s{batch}")
        self._board.hidden[batch] = time.monotonic_ns()
        self.update()
        self._board.showing[batch] = time.monotonic_ns()
        self._memory.lift(mark.name)
        self.forget_this(batch)  # a batch is hidden once only

    def forget_this(self, batch: int) -> None:
        with self._going(batch, list(self._live[batch])):
            assert self._memory.forget(subject=f"s{batch}").status == "erased"

    def hold(self) -> None:
        batch = self._pick(whole=True)
        ids = [f"id-{n}" for n in self._live[batch]]
        mark = self._memory.hold(subject=f"s{batch}", reason="a matter")
        with pytest.raises(Held):
            self._memory.delete(ids)
        self._board.hiding[batch] = time.monotonic_ns()
        assert self._memory.forget(subject=f"s{batch}").status == "unsupported"
        self._board.hidden[batch] = time.monotonic_ns()
        self.add()
        with self._going(batch, list(self._live[batch])):
            (late,) = self._memory.lift(mark.name)
        assert late.status == "erased"

    def quiet(self) -> None:
        """Records that come to a subject that is restricted, and go with it: never found."""
        batch = self._new(4, whole=False)
        self._board.quiet[batch] = 1
        first = range(self._numbers - 4, self._numbers - 3)
        self._memory.add(record_of(first.start, 0, batch))
        self._came(batch, first)
        self._board.hiding[batch] = time.monotonic_ns()
        self._memory.restrict(subject=f"s{batch}")
        self._board.hidden[batch] = time.monotonic_ns()
        for n in range(first.stop, self._numbers):
            self._memory.add(record_of(n, 0, batch))
            self._came(batch, range(n, n + 1))
        self.forget_this(batch)

    def purge(self) -> None:
        self._memory.purge()


@contextmanager
def crowded(tmp_path: Path) -> Iterator[tuple[Author, Board, list[str]]]:
    """One writer, and a crowd of threads and processes that go on asking till the end."""
    board, faults = Board(tmp_path / "board"), []
    memory = opened(tmp_path / "kb")
    author = Author(memory, board, 7)
    author.begin()
    pipes: list[Connection] = []
    children = []
    for place in range(PROCESSES):
        here, there = SPAWN.Pipe()
        child = SPAWN.Process(target=serve, args=(str(tmp_path), place, os.getpid(), there))
        child.start()
        pipes.append(here)
        children.append(child)
    askers = [Asker(memory, board, 100 + i) for i in range(THREADS)]
    threads = [
        threading.Thread(target=attempt, args=(asker, board, PROCESSES + i, faults, 6))
        for i, asker in enumerate(askers)
    ]
    try:
        for pipe in pipes:
            assert pipe.recv() == "ready"
        for thread in threads:
            thread.start()
        yield author, board, faults
    finally:
        board.stop[0] = 1
        for thread in threads:
            thread.join()
        for pipe, child in zip(pipes, children, strict=True):
            faults += pipe.recv()[1]
            child.join(20)
        memory.close()


def check_crowd(tmp_path: Path, reads: int) -> np.ndarray:
    with crowded(tmp_path) as (author, board, faults):
        while not board.stop[0] and (board.reads.sum() < reads or not author.is_through()):
            author.go_on()
    assert not faults, "\n\n".join(faults)
    assert author.is_through()
    with opened(tmp_path / "kb") as memory:  # the second writer gets its turn
        assert memory.purge() >= 0
    return board.reads[: THREADS + PROCESSES].copy()


def test_a_crowd_sees_whole_answers_and_nothing_that_is_gone(tmp_path: Path) -> None:
    reads = check_crowd(tmp_path, 500)
    assert reads.sum() >= 500 and reads.all()


@pytest.mark.slow
def test_a_large_crowd_sees_whole_answers_and_nothing_that_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reads = check_crowd(tmp_path, 10_000)
    with capsys.disabled():
        inside, beside = reads[PROCESSES:].sum(), reads[:PROCESSES].sum()
        sys.stdout.write(f"\n{reads.sum()} reads: {inside} in {THREADS} threads of the writer, ")
        sys.stdout.write(f"{beside} in {PROCESSES} processes beside it; 0 faults\n")
    assert reads.sum() >= 10_000 and reads.all()


def test_a_reader_knows_where_to_look_as_soon_as_files_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "store"
    writer, reader = LanceStore(home, config(cap=4)), LanceStore(home, config(readonly=True))
    fill(writer, [record(f"r{i}", subject=f"s{i}") for i in range(30)])
    query = Query(vectors(1, 5)[0], 50)
    assert len(reader.search(query, "lancedb")) == 30
    real, seen = fold.sweep, []

    def sweep(state: State) -> None:
        real(state)
        seen.append((len(reader.search(query, "lancedb")), len(reader.files())))

    writer.delete(["r3", "r7"])
    assert reader.count() == 28
    with monkeypatch.context() as patch:
        patch.setattr(fold, "sweep", sweep)
        writer.purge()
    assert seen and all(hits == 28 and files > 1 for hits, files in seen)
    writer.close()
    reader.close()
