"""Vectors read from files are the same bits as vectors in memory, whatever came and went."""

from __future__ import annotations

import sys
from os import close
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.index import FlatIndex, Index, contents, pivots, tiers
from forgetnet.index.contents import Filed
from forgetnet.store import Floats
from tests.contract.kit import places, vectors

DIM = 8
WIDTH = 4 * DIM


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows do what takes many."""
    monkeypatch.setattr(contents, "_READ", 5)
    monkeypatch.setattr(tiers, "_FEWEST", 0)
    monkeypatch.setattr(pivots, "PIVOTS", 3)


def write(path: Path, rows: Floats, gap: int = 0) -> np.ndarray:
    """Write rows with a gap before each; return where they begin."""
    with path.open("wb") as file:
        starts = []
        for row in rows:
            file.write(b"\xff" * gap)
            starts.append(file.tell())
            file.write(row.tobytes())
    return np.array(starts, np.int64)


def held(index: FlatIndex) -> Filed:
    assert isinstance(index.contents, Filed)
    return index.contents


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_an_index_over_files_is_the_one_in_memory_after_any_history(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    sizes = {"scan": data.draw(st.sampled_from([4, 99])), "split": 12}
    kept, filed = Index(DIM, b"salt", **sizes), Index(DIM, b"salt", filed=True, **sizes)
    drawn, place = vectors(60), places(60)
    live: list[str] = []
    for step in range(data.draw(st.integers(1, 8))):
        new = data.draw(st.integers(0, 9))
        ids = [f"{step}-{i}" for i in range(new)]
        at = data.draw(st.lists(st.integers(0, 59), min_size=new, max_size=new))
        tags = np.arange(new, dtype=np.uint64) + 2**63
        for index in (kept, filed):
            index.add(ids, drawn[at], place[at], tags)
        live += ids
        some = [i for i in live if data.draw(st.booleans())]
        data.draw(st.randoms(use_true_random=False)).shuffle(some)
        if some:
            path = folder / f"{step}"
            filed.lay(some, path, write(path, kept.vectors(some)[0], data.draw(st.integers(0, 1))))
        gone = [i for i in live if data.draw(st.integers(0, 3)) == 0]
        for index in (kept, filed):
            index.remove(gone)
        live = [i for i in live if i not in gone]
        for query in drawn[:3]:
            for more in ({}, {"only": live[::2]}, {"without": live[:2]}):
                assert kept.search(query, 4, **more) == filed.search(query, 4, **more)
        assert kept.digest() == filed.digest()
        for mine, theirs in zip(kept.vectors(live), filed.vectors(live), strict=True):
            assert mine.tobytes() == theirs.tobytes()
        assert kept.tags(live).tolist() == filed.tags(live).tolist()
        young = {row.tobytes() for row in held(filed)._young.values()}
        assert young <= {row.tobytes() for row in kept.vectors(live)[0]}
        assert set(held(filed)._paths) == set(held(filed)._counts)
        assert sum(held(filed)._counts.values()) + len(young) <= len(live)


def test_what_lies_in_a_file_is_in_memory_no_more(tmp_path: Path) -> None:
    rows = vectors(6)
    index = FlatIndex(DIM, filed=True)
    index.add(list("abcdef"), rows, places(6))
    assert held(index).resident == 6
    before = list(held(index)._young.values())
    index.lay(list("fedc"), tmp_path / "one", write(tmp_path / "one", rows[5:1:-1]))
    assert held(index).resident == 2
    assert not any(row.any() for row in before[2:])
    index.add([str(i) for i in range(3000)], np.repeat(rows[:1], 3000, axis=0), places(3000))
    index.remove([str(i) for i in range(3000)])
    assert held(index).resident == 2
    assert index.vectors(list("abcdef"))[0].tobytes() == rows.tobytes()
    index.lay(list("abcdef"), tmp_path / "two", write(tmp_path / "two", rows, gap=3))
    (tmp_path / "one").unlink()
    assert held(index).resident == 0 and len(held(index)._paths) == 1
    assert sys.getsizeof(held(index)._young) == sys.getsizeof({})
    assert index.vectors(list("fa"))[0].tobytes() == rows[[5, 0]].tobytes()


@pytest.mark.parametrize("fault", ["other bits", "too short", "missing"])
def test_what_is_not_there_to_the_bit_stays_in_memory(tmp_path: Path, fault: str) -> None:
    rows = vectors(4)
    index = FlatIndex(DIM, filed=True)
    index.add(list("abcd"), rows, places(4))
    path = tmp_path / "rows"
    changed = rows.copy()
    changed[1, 3] = np.nextafter(changed[1, 3], np.float32(2))
    starts = write(path, changed)
    if fault == "too short":
        path.write_bytes(path.read_bytes()[:-1])
    if fault == "missing":
        path.unlink()
    index.lay(list("abcd"), path, starts)
    assert held(index).resident == (1 if fault == "other bits" else 4)
    assert index.vectors(list("abcd"))[0].tobytes() == rows.tobytes()


def test_a_file_that_is_gone_is_an_error_and_never_another_row(tmp_path: Path) -> None:
    rows = vectors(4)
    index = Index(DIM, scan=2, split=99, filed=True)
    index.add(list("abcd"), rows, places(4))
    index.lay(list("abcd"), tmp_path / "rows", write(tmp_path / "rows", rows))
    index.settle()
    (tmp_path / "rows").unlink()
    with pytest.raises(OSError, match="rows"):
        index.search(rows[0], 2)
    index.remove(["a"])  # needs no vector
    assert "a" not in index and len(index) == 3


@pytest.mark.parametrize("dim", [7, 8])
def test_a_vector_that_was_changed_in_its_file_is_refused(tmp_path: Path, dim: int) -> None:
    rows = vectors(5, dim=dim)
    index = FlatIndex(dim, filed=True)
    index.add(list("abcde"), rows, places(5))
    path = tmp_path / "rows"
    index.lay(list("edcba"), path, write(path, rows[::-1]))
    index.remove(["b"])  # another takes its place
    data = path.read_bytes()
    swapped = rows[[2]].copy()
    swapped[0, [0, 1, -2, -1]] = swapped[0, [-2, -1, 0, 1]]
    for other in (rows[0], rows[2] + np.float32(1e-7), swapped[0], np.zeros(dim, np.float32)):
        path.write_bytes(data.replace(rows[2].tobytes(), other.tobytes()))
        assert index.vectors(list("ade"))[0].tobytes() == rows[[0, 3, 4]].tobytes()
        with pytest.raises(OSError, match="changed"):
            index.vectors(list("ac"))
        with pytest.raises(OSError, match="changed"):
            index.search(rows[0], 2)
    path.write_bytes(data)
    assert index.vectors(list("ca"))[0].tobytes() == rows[[2, 0]].tobytes()


def test_the_second_of_two_files_being_gone_closes_the_first_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = vectors(4)
    index = FlatIndex(DIM, filed=True)
    index.add(list("abcd"), rows, places(4))
    for name, at in (("one", slice(0, 2)), ("two", slice(2, 4))):
        path = tmp_path / name
        index.lay(list("abcd")[at], path, write(path, rows[at]))
    (tmp_path / "two").unlink()
    closed: list[int] = []  # a number may be another thread's file by the second time
    monkeypatch.setattr(contents.os, "close", lambda handle: closed.append(handle) or close(handle))
    with pytest.raises(FileNotFoundError, match="two"):
        index.vectors(list("abcd"))
    assert len(closed) == 1


@pytest.mark.parametrize("start", [-1, -WIDTH, 1 << 40, 3 << 40, 1 << 46])
def test_where_no_vector_can_lie_none_is_read(tmp_path: Path, start: int) -> None:
    rows = vectors(2)
    index = FlatIndex(DIM, filed=True)
    index.add(list("ab"), rows, places(2))
    path = tmp_path / "rows"
    index.lay(list("ab"), path, np.array([write(path, rows)[0], start], np.int64))
    assert held(index).resident == 1
    assert index.vectors(list("ab"))[0].tobytes() == rows.tobytes()
