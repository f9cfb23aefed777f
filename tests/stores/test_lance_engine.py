"""What only the Lance engine promises: cost that follows the leaf, and readers in a race."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.store import Query, StoreConfig
from forgetnet_stores.lance import LanceStore, engine, native, state
from forgetnet_stores.lance.catalogue import Manifest
from forgetnet_stores.lance.tail import read_frames
from tests.contract.kit import DIM, config, fill, record, rows_on_disk, strays, vectors


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(home: Path) -> Iterator[LanceStore]:
    found = LanceStore(home, config(16))
    yield found
    found.close()


def written(home: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in home.glob("pieces/*")}


def test_forgetting_a_subject_rewrites_one_piece_whatever_the_size(
    store: LanceStore, home: Path
) -> None:
    for n in (300, 900):
        fill(store, [record(f"{n}-{i}", subject=f"{n} {i % 100}") for i in range(n)], seed=n)
        before = written(home)
        store.delete([r.id for r in store.scan({"subject": f"{n} 7"})])
        assert written(home) == before
        done = store.purge()
        assert done.pieces <= 1
        assert len(set(before.items()) - set(written(home).items())) <= 2
        assert done.bytes_written < 100_000


def test_a_batch_too_small_to_rewrite_pieces_goes_to_the_tails(
    store: LanceStore, home: Path
) -> None:
    fill(store, [record(f"r{i}", subject=f"s{i}") for i in range(400)])
    before = written(home)
    fill(store, [record("one more", subject="s1")], seed=1)
    assert written(home) == before
    assert list(home.glob("tails/*"))


def test_no_byte_of_a_record_is_in_the_tail_of_another_leaf(home: Path) -> None:
    store = LanceStore(home, config(100))
    fill(store, [record(f"old {i}", subject=f"s{i}") for i in range(700)])
    names = [f"<{i:05}>" for i in range(270)]
    come = [record(n + "i" * len(n) * (i % 9), subject=f"s{i}") for i, n in enumerate(names)]
    fill(store, come, seed=1)
    tails = list(home.glob("tails/*"))
    assert len(tails) > 2
    for path in tails:
        ids = [i for f in read_frames(path) for i in f.table().column("id").to_pylist()]
        found = [name for name in names if name.encode() in path.read_bytes()]
        assert found == sorted(i[:7] for i in ids)
    store.close()


def test_a_subject_larger_than_a_leaf_is_not_rewritten_at_each_add(
    store: LanceStore, home: Path
) -> None:
    for i in range(60):
        fill(store, [record(f"r{i}", subject="only one")], seed=i)
    assert not written(home)
    assert list(store._state.manifest.leaves) == [""]


def test_a_tail_that_grew_too_long_is_folded_in(
    store: LanceStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, [record("big", "text " * 900_000, subject="only one")])
    assert len(written(home)) == 1
    assert not list(home.glob("tails/*"))
    fill(store, [record("small", subject="only one")], seed=1)
    assert len(list(home.glob("tails/*"))) == 1


def test_a_tail_of_too_many_frames_is_folded_in(
    store: LanceStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forgetnet_stores.lance.fold._TAIL_FRAMES", 10)
    for i in range(6):
        fill(store, [record(f"r{i}", subject="only one")], seed=i)
    store.close()
    store = LanceStore(home, config(16))
    for i in range(6, 10):
        fill(store, [record(f"r{i}", subject="only one")], seed=i)
    assert not written(home)
    fill(store, [record("last", subject="only one")], seed=10)
    assert len(written(home)) == 1
    assert not list(home.glob("tails/*"))
    store.close()


def test_thousands_of_single_adds_leave_no_heap_of_files(
    store: LanceStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forgetnet_stores.lance.fold._TAIL_BYTES", 20_000)
    for i in range(400):
        fill(store, [record(f"r{i}", subject=f"s{i % 50}")], seed=i)
    leaves = len(store._state.manifest.leaves)
    assert leaves < 4 * 400 / 16
    assert len(written(home)) <= leaves
    assert len(list(home.glob("tails/*"))) <= leaves
    assert not strays(home)


def test_files_are_those_that_hold_what_is_asked(store: LanceStore, home: Path) -> None:
    fill(store, [record(f"r{i}", subject=f"s{i}") for i in range(300)])
    assert {p for p in store.files() if p.suffix == ".lance"} == set(home.glob("pieces/*"))
    mine = store.files(["r7"])
    assert len(mine) == 1
    assert "r7" in {row["id"] for row in rows_on_disk(mine[0])}
    fill(store, [record("extra", subject="s7")], seed=1)
    assert {p.suffix for p in store.files(["extra"])} == {".lance", ".tail"}
    assert store.files(["nobody"]) == []
    store.delete(["r9"])
    left = store.files(["nobody"])  # rows that are not purged yet
    assert "r9" in {row["id"] for path in left for row in rows_on_disk(path.parent) if "id" in row}
    store.purge()
    assert store.files(["nobody"]) == []


def test_another_salt_is_noticed(store: LanceStore, home: Path) -> None:
    fill(store, [record(f"r{i}", subject=f"s{i}") for i in range(100)])
    store.close()
    for readonly in (False, True):
        with pytest.raises(StoreCorrupt, match="salt"):
            LanceStore(home, StoreConfig(DIM, b"another", 16, readonly))
    again = LanceStore(home, config(999))
    assert again.count() == 100
    assert again._state.manifest.cap == 16  # the store's own, not the caller's
    again.close()


def test_a_forked_child_can_not_write_for_its_parent(store: LanceStore) -> None:
    fill(store, [record("a")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python and Lance warn of forking beside threads
        child = os.fork()
    if not child:
        code = 1
        try:
            store.delete(["a"])
        except StoreError as error:
            code = 0 if "another process" in str(error) else 2
        finally:
            store._lock.release()
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert store.count() == 1
    with pytest.raises(StoreError, match="open for writing in"):
        LanceStore(store._root, config())


def test_a_reader_is_not_misled_by_files_that_go_while_it_looks(
    store: LanceStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = LanceStore(home, config(readonly=True))
    fill(store, [record(f"r{i}") for i in range(5)])
    assert not written(home)  # all in tails, which a manifest knows nothing of yet
    real, calls = state.read_tail, []

    def late(*given: Any) -> Any:
        if not calls:
            calls.append(given)
            store.delete(["r1"])
            store.purge()  # zeroes and unlinks what the reader is about to read
        return real(*given)

    monkeypatch.setattr(state, "read_tail", late)
    assert sorted(r.id for r in reader.scan()) == ["r0", "r2", "r3", "r4"]
    assert calls
    reader.close()


def test_a_reader_asks_the_files_again_when_they_went(
    store: LanceStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = fill(store, [record(f"r{i}", subject=f"s{i}") for i in range(300)])
    reader = LanceStore(home, config(readonly=True))
    real, calls = native._tables, []

    def late(*given: Any) -> Any:
        if not calls:
            calls.append(given)
            store.delete(["r1"])
            store.purge()
        return real(*given)

    monkeypatch.setattr(native, "_tables", late)
    hits = reader.search(Query(content[1], 300), "lancedb")
    assert calls
    assert len(hits) == 299
    assert hits == reader.search(Query(content[1], 300))
    reader.close()


def test_every_flipped_bit_of_a_manifest_is_noticed(store: LanceStore, home: Path) -> None:
    fill(store, [record(f"r{i}", subject=f"s{i}") for i in range(40)])
    good = (home / "manifest.json").read_bytes()
    Manifest.decode(good, home)
    for spot in range(len(good) - 1):  # the last byte is a line's end
        bad = bytearray(good)
        bad[spot] ^= 1 << (spot % 7)
        with pytest.raises(StoreCorrupt):
            Manifest.decode(bytes(bad), home)


def test_a_reader_meets_a_busy_writer(store: LanceStore, home: Path) -> None:
    reader = LanceStore(home, config(readonly=True))
    for i in range(40):
        fill(store, [record(f"r{i}", subject=f"s{i % 5}")], seed=i)
        if i % 4 == 3:
            store.delete([f"r{i - 2}"])
        if i % 9 == 8:
            store.purge()
        assert reader.digest() == store.digest()
        assert reader.search(Query(vectors(1)[0])) == store.search(Query(vectors(1)[0]))
    reader.close()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space and purge again"), (errno.EIO, "see to it and purge again")],
)
def test_a_purge_that_failed_says_what_to_do(
    store: LanceStore, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    fill(store, [record(f"r{i}", subject="s") for i in range(3)])
    store.delete(["r1"])

    def fails(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(engine, "fold_dirty", fails)
        with pytest.raises(StoreError, match=f"bytes are not gone yet; {remedy}"):
            store.purge()
    assert store.purge().pieces == 1
