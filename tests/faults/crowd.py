"""A crowd around one memory: what its writer has acknowledged, and readers who hold it to that.

Times are ``time.monotonic_ns``, one clock for all processes of a machine. The writer publishes the
time of an acknowledgement after it came, and that of a beginning before it; readers look at both
after they have their answer. So a reader may overlook a fault, and never sees one where none is.
"""

from __future__ import annotations

import os
import random
import re
import time
import traceback
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from forgetnet import Hit, Memory, Record, StoreLocked

KEY = bytes(range(32))
ENCODER = "hash:32"
NUMBERS, VERSIONS, BATCHES = 60_000, 4, 20_000
SAID = re.compile(r"the (\d+)th thing, told (\d+) times, of batch (\d+)")


def opened(path: str | Path, *, readonly: bool = False) -> Memory:
    return Memory.open(path, encoder=ENCODER, key=KEY, readonly=readonly)


def text_of(n: int, version: int, batch: int) -> str:
    return f"the {n}th thing, told {version} times, of batch {batch}"


def record_of(n: int, version: int, batch: int) -> Record:
    return Record(
        text_of(n, version, batch),
        id=f"id-{n}",
        subject=f"s{batch}",
        topic=f"t{batch % 5}/b{batch}",
        metadata={"n": n, "version": version},
    )


def numbers_of(record: Record | Hit) -> tuple[int, int, int]:
    """Read the number, the version and the batch off a record, which must agree with itself."""
    said = SAID.fullmatch(record.text or "")
    assert said, f"{record.id}: half a text"
    n, version, batch = map(int, said.groups())
    whole = record_of(n, version, batch)
    same = (record.id, record.subject) == (whole.id, whole.subject)
    assert same and dict(record.metadata) == dict(whole.metadata), f"{record.id}: of two records"
    return n, version, batch


class Board:
    """Arrays in a file that all processes map: what was begun and acknowledged, and when; 0: never.

    Attributes:
        born: (number, version) acknowledged.
        leaving: (number, version) began to be replaced or removed.
        over: (number, version) acknowledged to be no more.
        hiding, hidden: the batch began to be kept from searches; that was acknowledged.
        showing: it began to be shown again.
        first, size: the numbers of a batch, which come at once.
        whole: 1 for a batch whose records also go at once.
        quiet: 1 for a batch that was hidden before any but its first record came.
        reads: by reader.
        stop: not 0 when all is over.
        batches: the newest batch; latest: the one that is being changed.
    """

    def __init__(self, path: Path) -> None:
        sizes = {
            "born": (NUMBERS, VERSIONS),
            "leaving": (NUMBERS, VERSIONS),
            "over": (NUMBERS, VERSIONS),
            "hiding": (BATCHES,),
            "hidden": (BATCHES,),
            "showing": (BATCHES,),
            "first": (BATCHES,),
            "size": (BATCHES,),
            "whole": (BATCHES,),
            "quiet": (BATCHES,),
            "reads": (64,),
            "stop": (1,),
            "batches": (1,),
            "latest": (1,),
        }
        total = sum(int(np.prod(shape)) for shape in sizes.values())
        new = not path.exists()
        data = np.memmap(path, np.int64, "w+" if new else "r+", shape=(total,))
        start = 0
        for name, shape in sizes.items():
            end = start + int(np.prod(shape))
            setattr(self, name, data[start:end].reshape(shape))
            start = end

    born: np.ndarray
    leaving: np.ndarray
    over: np.ndarray
    hiding: np.ndarray
    hidden: np.ndarray
    showing: np.ndarray
    first: np.ndarray
    size: np.ndarray
    whole: np.ndarray
    quiet: np.ndarray
    reads: np.ndarray
    stop: np.ndarray
    batches: np.ndarray
    latest: np.ndarray


class Asker:
    """A reader who asks at random and checks every answer."""

    def __init__(self, memory: Memory, board: Board, seed: int) -> None:
        self._memory = memory
        self._board = board
        self._chance = random.Random(seed)
        self._vectors: dict[str, np.ndarray] = {}

    def ask(self) -> None:
        """Ask one question about a batch that is there, was there or is about to come."""
        known = int(self._board.batches[0])
        batch = max(0, known - int(self._chance.expovariate(1 / 20)))
        if self._chance.random() < 0.5:
            batch = int(self._board.latest[0])
        n = int(self._board.first[batch]) + self._chance.randrange(max(1, self._board.size[batch]))
        often = [self.near, self.near, self.of, self.under, self.one, self.one, self.bits]
        question = self._chance.choice([*often, self.said, self.many, self.all_of, self.figures])
        question(n, batch)

    # -- questions

    def near(self, n: int, batch: int) -> None:
        asked = self._vector(text_of(n, 0, batch))
        began = time.monotonic_ns()
        self._hits(began, asked, self._memory.search(asked, k=8))

    def of(self, n: int, batch: int) -> None:
        asked = self._vector(text_of(n, 1, batch))
        began = time.monotonic_ns()
        hits = self._memory.search(asked, k=400, subject=f"s{batch}")
        self._hits(began, asked, hits)
        self._together(began, batch, len(hits), searched=True)

    def under(self, n: int, batch: int) -> None:
        asked = self._vector(text_of(n, 2, batch))
        began = time.monotonic_ns()
        hits = self._memory.search(asked, k=400, under=f"t{batch % 5}/b{batch}")
        self._hits(began, asked, hits)
        self._together(began, batch, len(hits), searched=True)

    def said(self, n: int, batch: int) -> None:
        mode: Literal["text", "hybrid"] = self._chance.choice(["text", "hybrid"])
        began = time.monotonic_ns()
        hits = self._memory.search(text_of(n, 0, batch), k=8, mode=mode)
        self._found(began, hits)

    def one(self, n: int, batch: int) -> None:
        began = time.monotonic_ns()
        found = self._memory.get(f"id-{n}")
        self._present(began, n, [] if found is None else [self._checked(began, found)])

    def bits(self, n: int, batch: int) -> None:
        began = time.monotonic_ns()
        found = self._memory.get(f"id-{n}", vector=True)
        if found is not None:
            self._checked(began, found)
            assert found.vector is not None
            assert (found.vector == self._vector(found.text or "")).all(), f"{found.id}: torn"

    def many(self, n: int, batch: int) -> None:
        began = time.monotonic_ns()
        self._together(began, batch, self._memory.count({"subject": f"s{batch}"}))

    def all_of(self, n: int, batch: int) -> None:
        began = time.monotonic_ns()
        found = self._memory.get_all({"subject": f"s{batch}"})
        self._together(began, batch, len(found))
        there = [self._checked(began, record) for record in found]
        first = int(self._board.first[batch])
        for mine in range(first, first + int(self._board.size[batch])):
            self._present(began, mine, there)

    def figures(self, n: int, batch: int) -> None:
        began = time.monotonic_ns()
        told = self._memory.stats()
        assert told.records >= 0 and told.files > 0
        for subject, count in self._memory.subjects().items():
            self._together(began, int(subject[1:]), count)

    # -- what must hold

    def _vector(self, text: str) -> np.ndarray:
        if text not in self._vectors:
            self._vectors[text] = self._memory.encoder.encode([text], progress=False)[0]
        return self._vectors[text]

    def _checked(self, began: int, record: Record | Hit) -> tuple[int, int]:
        """A record in an answer is whole, and wasn't over when the answer began."""
        n, version, _batch = numbers_of(record)
        over = int(self._board.over[n, version])
        late = f"{record.id} version {version}: {(began - over) / 1e6:.3f} ms after it was over"
        assert not over or over >= began, late
        return n, version

    def _found(self, began: int, hits: Sequence[Hit]) -> None:
        """Every hit is whole, and may be found."""
        for hit in hits:
            n, _ = self._checked(began, hit)
            batch = int((hit.subject or "")[1:])
            never = self._board.quiet[batch] and n > self._board.first[batch]
            assert not never, f"{hit.id}: found, and was hidden before it came"
            hidden, showing = self._board.hidden[batch], self._board.showing[batch]
            assert not hidden or hidden >= began or showing, f"{hit.id}: hidden, and found"

    def _hits(self, began: int, asked: np.ndarray, hits: Sequence[Hit]) -> None:
        """Every hit may be found, and its distance is that of its text."""
        self._found(began, hits)
        wide = asked.astype(np.float64)
        for hit in hits:
            assert hit.distance is not None
            exact = 1.0 - float((self._vector(hit.text or "").astype(np.float64) * wide).sum())
            assert abs(hit.distance - exact) < 1e-9, f"{hit.id}: the distance of another text"
        order = [(hit.distance, hit.id) for hit in hits]
        assert order == sorted(order)

    def _present(self, began: int, n: int, there: Iterable[tuple[int, int]]) -> None:
        """What was acknowledged before, and isn't leaving, is there."""
        born, leaving = self._board.born[n], self._board.leaving[n]
        for version in range(VERSIONS):
            if born[version] and born[version] < began and not leaving[version]:
                assert (n, version) in there, f"id-{n} version {version}: acknowledged, and absent"

    def _together(self, began: int, batch: int, count: int, *, searched: bool = False) -> None:
        """What came at once is seen at once; where it goes at once, always."""
        board, size = self._board, int(self._board.size[batch])
        if board.whole[batch]:
            assert count in {0, size}, f"batch {batch}: {count} of {size}"
        assert count <= size
        mine = slice(int(board.first[batch]), int(board.first[batch]) + size)
        born = board.born[mine, 0]
        stays = not board.leaving[mine, VERSIONS - 1].any()
        if size and born.all() and born.max() < began and stays:
            if not (searched and board.hiding[batch]):
                assert count == size, f"batch {batch}: {count} of {size}, and none left"


def attempt(asker: Asker, board: Board, place: int, faults: list[str], limit: int) -> None:
    """Ask until all is over; stop at the first fault."""
    try:
        while not board.stop[0]:
            asker.ask()
            board.reads[place] += 1
            time.sleep(0.001)
    except Exception:  # noqa: BLE001 - shown by the parent
        faults.append(traceback.format_exc(limit=limit))
        board.stop[0] = 1


def serve(root: str, place: int, writer: int, pipe: Connection) -> None:
    """Be a reader in a process of its own; say at the end what was wrong."""
    faults: list[str] = []
    try:
        board = Board(Path(root) / "board")
        memory = opened(Path(root) / "kb", readonly=True)
        pipe.send("ready")
        attempt(Asker(memory, board, place), board, place, faults, 6)
        with pytest.raises(StoreLocked, match=f"process {writer}"):
            opened(Path(root) / "kb")
        memory.close()
        opened(Path(root) / "kb", readonly=True).close()
    except BaseException:  # noqa: BLE001 - shown by the parent
        faults.append(traceback.format_exc(limit=6))
    pipe.send((os.getpid(), faults))
