"""A process beside the writer lets go of what was forgotten at its next call, at the latest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forgetnet import Memory, Record
from tests.faults.mirror import OPTIONS, Mirror, count_held, memory_of, mirror

MANY = 50


def text_of(n: int) -> str:
    return f"what only she said, number {n}, behind the old mill"


TEXTS = [text_of(n) for n in range(MANY)]


def ids() -> list[str]:
    return [f"a{n}" for n in range(MANY)]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Memory]:
    with Memory.open(tmp_path / "kb", **OPTIONS) as memory:
        others = [Record(f"nothing {n} to see", id=f"o{n}", subject="bob") for n in range(300)]
        mine = [Record(text_of(n), id=f"a{n}", subject="ann") for n in range(MANY)]
        memory.add(others[:150] + mine[:30])
        memory.add(others[150:])
        for record in mine[30:]:
            memory.add(record)
        yield memory


@pytest.fixture
def reader(writer: Memory, tmp_path: Path) -> Iterator[Mirror]:
    with mirror(tmp_path / "kb") as found:
        yield found


def rows_of(memory: Memory) -> list[bytes]:
    return [memory.get(i, vector=True).vector.tobytes() for i in ids()]


def update(memory: Memory) -> None:
    for i in ids():
        memory.update(i, "something else")


CHANGES: dict[str, Callable[[Memory], object]] = {
    "forgotten": lambda memory: memory.forget(subject="ann"),
    "deleted": lambda memory: memory.delete(ids()),
    "replaced": update,
}


@pytest.mark.parametrize("asked", [("count",), ("search", "what she said")])
@pytest.mark.parametrize("change", CHANGES)
def test_a_reader_holds_nothing_of_it_after_its_next_call(
    writer: Memory, reader: Mirror, change: str, asked: tuple[str, ...]
) -> None:
    rows = rows_of(writer)
    assert reader.opened == 300 + MANY
    assert reader.do("held", rows, TEXTS) == (MANY, MANY)
    CHANGES[change](writer)
    assert reader.do("held", rows, TEXTS) == (MANY, MANY)  # it can't know yet
    assert reader.do(*asked) == (300 + MANY if change == "replaced" else 300)
    assert reader.do("held", rows, TEXTS) == (0, 0)


@pytest.mark.parametrize("change", CHANGES)
def test_the_writer_holds_nothing_of_it_when_it_returns(writer: Memory, change: str) -> None:
    rows = rows_of(writer)
    assert count_held(writer, rows, TEXTS) == (MANY, MANY)
    CHANGES[change](writer)
    assert count_held(writer, rows, TEXTS) == (0, 0)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="root reads another process's memory")
def test_a_vector_in_the_index_is_overwritten_and_not_only_let_go(
    writer: Memory, reader: Mirror
) -> None:
    """Other copies stay in freed memory, from reading the files: nothing is promised of them."""
    row = rows_of(writer)[0]
    before = memory_of(reader.pid).count(row)
    writer.delete("a0")
    reader.do("count")
    assert memory_of(reader.pid).count(row) < before
