"""A disk that runs full, a folder that can't be written: an error, and nothing lost or halved."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from forgetnet import files
from forgetnet.errors import StoreError
from forgetnet.record import Record
from forgetnet.store import Query
from forgetnet_stores.lance import LanceStore, engine, fold
from forgetnet_stores.memory import MemoryStore
from tests.contract.kit import config, fill, record, rows_on_disk, strays, vectors
from tests.faults.disks import SmallDisk, SmallFiles, disk, may_mount, read_only

KINDS = ["limit", "tmpfs"] if may_mount() else ["limit"]
LONG = "a text too long for what is left " * 2_000
FEW = [record(f"r{i}", subject=f"s{i}") for i in range(30)]


@pytest.fixture(params=KINDS)
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk | SmallFiles]:
    with disk(request.param, tmp_path / "disk") as found:
        yield found


@pytest.fixture
def twin() -> MemoryStore:
    return MemoryStore(Path(), config())


def check_same(store: LanceStore, twin: MemoryStore, home: Path) -> None:
    """The store, a reader beside it and the twin are one, by every path."""
    reader = LanceStore(home, config(readonly=True))
    for one in (store, reader):
        assert one.digest() == twin.digest()
        query = Query(vectors(1, 5)[0], 50)
        assert one.search(query) == one.search(query, "lancedb") == twin.search(query)
    reader.close()


def test_a_full_disk_loses_nothing_and_halves_nothing(
    small: SmallDisk | SmallFiles, twin: MemoryStore
) -> None:
    home = small.path / "store"
    store = LanceStore(home, config())
    for one in (store, twin):
        fill(one, FEW)
        one.delete(["r3"])
    small.fill_up()
    long = [record(f"long{i}", LONG, subject=f"l{i}") for i in range(5)]
    many = [record(f"m{i}", LONG[: 20_000 + i], subject=f"m{i % 40}") for i in range(300)]
    changed = [replace(r, text=LONG) for r in FEW[5:9]]
    for batch, again in ((long, False), (many, False), (changed, True), (many + changed, True)):
        with pytest.raises(StoreError, match="nothing was"):
            fill(store, batch, seed=1, replace=again)
        check_same(store, twin, home)
    with pytest.raises(StoreError, match="purge again"):
        store.purge()
    check_same(store, twin, home)
    store.close()
    store = LanceStore(home, config())
    check_same(store, twin, home)

    small.free()
    for one in (store, twin):
        fill(one, changed, seed=1, replace=True)
        fill(one, long, seed=2)
        one.delete(["r4", "long0"])
    check_same(store, twin, home)
    assert store.purge().pieces > 0
    check_same(store, twin, home)
    assert {row["id"] for row in rows_on_disk(home)} == {r.id for r in store.scan()}
    assert not strays(home)
    store.close()


def test_deletes_on_a_full_disk_are_done_or_refused(
    small: SmallDisk | SmallFiles, twin: MemoryStore
) -> None:
    home = small.path / "store"
    store = LanceStore(home, config())
    for one in (store, twin):
        fill(one, FEW)
    small.fill_up()
    refused = []
    for i in range(30):
        try:
            store.delete([f"r{i}"])
        except StoreError as error:
            refused.append(str(error))
        else:
            twin.delete([f"r{i}"])
        assert store.digest() == twin.digest()
    assert refused and all("nothing was changed" in said for said in refused)
    check_same(store, twin, home)
    store.close()
    small.free()
    store = LanceStore(home, config())
    check_same(store, twin, home)
    store.close()


def test_a_store_is_not_begun_where_there_is_no_room(small: SmallDisk | SmallFiles) -> None:
    small.fill_up()
    if isinstance(small, SmallDisk):  # a limit lets the small files of an empty store pass
        with pytest.raises(StoreError, match="can't open a store"):
            LanceStore(small.path / "store", config())
    small.free()
    store = LanceStore(small.path / "store", config())
    fill(store, FEW)
    assert store.count() == 30
    store.close()


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("verb", ["add", "replace", "delete"])
def test_a_batch_that_fails_midway_is_taken_back(
    tmp_path: Path, twin: MemoryStore, monkeypatch: pytest.MonkeyPatch, verb: str, at_once: bool
) -> None:
    home = tmp_path / "store"
    if at_once:  # parts are written beside each other, and memory changes meanwhile
        monkeypatch.setattr(engine, "_LARGE", 8)
    store = LanceStore(home, config(24 if at_once else 16))
    for one in (store, twin):
        fill(one, FEW)
    real = engine.append_durable
    left = [2]

    def change() -> None:
        if verb == "delete":
            store.delete([r.id for r in FEW])
        else:
            again = verb == "replace"
            new = [replace(r, id=r.id if again else r.id + "+", text=LONG) for r in FEW[:9]]
            fill(store, new, seed=1, replace=again)

    def runs_out(path: Path, data: bytes) -> int:
        left[0] -= 1
        return real(path, data) if left[0] > 0 else broken_disk()

    with monkeypatch.context() as patch:
        patch.setattr(engine, "append_durable", runs_out)
        with pytest.raises(StoreError, match="nothing was changed"):
            change()
    assert left[0] <= 0 if at_once else left[0] == 0
    check_same(store, twin, home)
    for one in (store, twin):  # takes the number of the batch that failed
        fill(one, [record("new"), record("newer")], seed=2)
        one.delete(["r1", "r2", "r3"])
    check_same(store, twin, home)
    store.close()
    store = LanceStore(home, config())
    check_same(store, twin, home)
    store.close()


def broken_disk(*_: object) -> NoReturn:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("large", [False, True])
def test_folding_that_fails_puts_itself_off(
    tmp_path: Path, twin: MemoryStore, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    home = tmp_path / "store"
    store = LanceStore(home, config(cap=4))
    with monkeypatch.context() as patch:
        patch.setattr(fold, "write_piece", broken_disk)
        for i in range(20):
            fill(store, [FEW[i]], seed=i)
            fill(twin, [FEW[i]], seed=i)
        with pytest.raises(StoreError, match="nothing was stored"):
            fill(store, [record(f"x{i}") for i in range(300)])
        check_same(store, twin, home)
        assert not rows_of_pieces(home)
    check_same(store, twin, home)
    if large:
        fill(store, FEW[20:], seed=50)
        fill(twin, FEW[20:], seed=50)
    else:
        store.delete(["r1"])
        twin.delete(["r1"])
        store.purge()
    check_same(store, twin, home)
    store.close()
    store = LanceStore(home, config())
    check_same(store, twin, home)
    assert not strays(home)
    store.close()


def rows_of_pieces(home: Path) -> list[Path]:
    return list((home / "pieces").iterdir())


def test_what_can_not_be_shredded_now_is_shredded_by_the_next_purge(
    tmp_path: Path, twin: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "store"
    store = LanceStore(home, config(cap=8))
    for one in (store, twin):
        fill(one, FEW)
        one.delete(["r1", "r2"])
    with monkeypatch.context() as patch:
        patch.setattr(files, "_zero", broken_disk)
        with pytest.raises(StoreError, match="not gone yet"):
            store.purge()
        assert strays(home)
        assert {"r1", "r2"} & {row.get("id") for row in rows_on_disk(home)}
        named = {path.name for path in store.files()}
        assert {name.partition("/")[2] for name in strays(home)} <= named
        fill(store, [record("new")], seed=3)  # goes in all the same
    check_same(store, with_new(twin), home)
    assert store.purge().pieces == 0
    assert not strays(home)
    assert {row["id"] for row in rows_on_disk(home)} == {r.id for r in store.scan()}
    store.close()


def with_new(twin: MemoryStore) -> MemoryStore:
    fill(twin, [record("new")], seed=3)
    return twin


@pytest.mark.parametrize("step", ["sync_dir", "replace"])
def test_a_manifest_that_may_or_may_not_count_stops_all_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    home = tmp_path / "store"
    store = LanceStore(home, config(cap=8))
    fill(store, FEW)
    store.delete(["r1"])
    before = store.digest()
    with monkeypatch.context() as patch:
        if step == "sync_dir":
            real = files.sync_dir
            patch.setattr(files, "sync_dir", lambda p: broken_disk() if p == home else real(p))
        else:
            patch.setattr(Path, "replace", broken_disk)
        with pytest.raises(StoreError):
            store.purge()
    if step == "sync_dir":
        for ask in (store.purge, store.digest, lambda: fill(store, [record("x")])):
            with pytest.raises(StoreError, match="reopen"):
                ask()
    else:
        assert store.digest() == before
        store.purge()
    store.close()
    store = LanceStore(home, config())
    assert store.digest() == before
    store.purge()
    assert not strays(home)
    assert {row["id"] for row in rows_on_disk(home)} == {r.id for r in store.scan()}
    store.close()


def records_of(store: LanceStore) -> list[Record]:
    return sorted(store.scan(), key=lambda r: r.id)


if may_mount() or os.geteuid() != 0:

    def test_a_read_only_folder_is_read_and_not_written(tmp_path: Path) -> None:
        home = tmp_path / "store"
        store = LanceStore(home, config())
        fill(store, FEW)
        found = records_of(store)
        store.close()
        with read_only(tmp_path):
            with pytest.raises(StoreError, match="readonly=True"):
                LanceStore(home, config())
            with pytest.raises(StoreError, match="can't open a store"):
                LanceStore(tmp_path / "new", config())
            reader = LanceStore(home, config(readonly=True))
            assert records_of(reader) == found
            query = Query(vectors(1)[0], 30)
            assert reader.search(query) == reader.search(query, "lancedb")
            reader.close()
        store = LanceStore(home, config())
        assert records_of(store) == found
        store.close()

    def test_a_folder_that_turns_read_only_stops_the_writer_cleanly(
        tmp_path: Path, twin: MemoryStore
    ) -> None:
        home = tmp_path / "store"
        store = LanceStore(home, config())
        for one in (store, twin):
            fill(one, FEW)
            one.delete(["r1"])
        many = [record(f"m{i}") for i in range(300)]
        with read_only(tmp_path):
            for batch in ([record("x", subject="s1")], many):
                with pytest.raises(StoreError, match="nothing was"):
                    fill(store, batch, seed=1)
            with pytest.raises(StoreError, match="nothing was"):
                store.delete(["r2"])
            with pytest.raises(StoreError, match="purge again"):
                store.purge()
            check_same(store, twin, home)
        for one in (store, twin):
            fill(one, many, seed=1)
            one.delete(["r2"])
            one.purge()
        check_same(store, twin, home)
        store.close()
        assert not strays(home)
