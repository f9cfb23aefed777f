"""Vectors on disk: out of memory for good, the same bits, and never those of a shredded piece."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet import Memory, Record, StoreCorrupt, StoreError, Unsupported
from forgetnet.index.contents import Filed
from forgetnet.store import Query, Store
from forgetnet_stores.lance import LanceStore, engine, laying
from tests.contract.kit import config, filed, fill, record, unit


def resident(store: object) -> int:
    assert isinstance(store, LanceStore)
    contents = store._state.table.flat.contents
    assert isinstance(contents, Filed)
    return contents.resident


def rows(n: int, dim: int = 384) -> list[Record]:
    drawn = unit(np.random.default_rng(n).standard_normal((n, dim)))
    return [Record(f"said {i}", f"r{i}", "one", vector=v) for i, v in enumerate(drawn)]


@pytest.mark.parametrize("n", [300, 6000])  # in one page of a Lance file, and in two
def test_what_pieces_hold_is_not_in_memory(tmp_path: Path, n: int) -> None:
    given: dict[str, Any] = {"encoder": "vectors:384", "key": bytes(32), "vectors": "disk"}
    records = rows(n)
    with Memory.open(tmp_path / "kb", **given) as memory:
        memory.add(records, progress=False)
        assert resident(memory._store) == 0
        answers = memory.search(records[7].vector, k=5)
    with Memory.open(tmp_path / "kb", **given) as memory:
        assert resident(memory._store) == 0
        assert memory.search(records[7].vector, k=5) == answers
        assert memory.forget(ids=["r7"]).status == "erased"
        assert resident(memory._store) == 0
        digest, after = memory.digest(), memory.search(records[7].vector, k=5)
    with Memory.open(tmp_path / "twin", **(given | {"vectors": "ram"})) as twin:
        twin.add([r for r in records if r.id != "r7"], progress=False)
        assert [hit.id for hit in twin.search(records[7].vector, k=5)] == [h.id for h in after]
        assert len(digest) == len(twin.digest())


def test_what_tails_hold_is_not_in_memory_either(tmp_path: Path) -> None:
    store = filed(tmp_path / "store", config(16))
    for i in range(8):
        fill(store, [record(f"a{i}", subject="s")], seed=i)
    fill(store, [record("a2", subject="s")], seed=9, replace=True)
    assert resident(store) == 0
    store.close()
    store = filed(tmp_path / "store", config(16))
    assert resident(store) == 0
    store.delete(["a3"])
    store.purge()
    assert resident(store) == 0
    before = store.digest()
    store.close()
    store = filed(tmp_path / "store", config(16))
    assert resident(store) == 0 and store.digest() == before
    store.close()


def test_a_piece_that_cannot_be_read_back_stops_the_store_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Store = filed(tmp_path / "store", config(16))
    fill(store, [record(f"a{i}", subject=f"s{i % 3}") for i in range(12)])
    store.delete(["a3"])

    def fails(*given: object) -> None:
        raise OSError("the disk")

    with monkeypatch.context() as patch:
        patch.setattr(laying, "spots", fails)
        with pytest.raises(StoreError, match="reopen"):
            store.purge()
    with pytest.raises(StoreError, match="reopen"):
        store.digest()
    store.close()
    store = filed(tmp_path / "store", config(16))
    store.purge()
    assert store.count() == 11 and resident(store) == 0
    assert not any(b"text of a3" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    store.close()


def test_rows_of_a_tail_that_cannot_be_read_back_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filed(tmp_path / "store", config(16))

    def fails(*given: object) -> Iterator[None]:
        raise OSError(24, "too many open files")
        yield  # as the frames come one by one, it fails at the first

    with monkeypatch.context() as patch:
        patch.setattr(engine, "read_frames", fails)
        fill(store, [record(f"a{i}", subject="s") for i in range(4)])
    assert store.count() == 4 and resident(store) == 4
    before = store.digest()
    store.close()
    store = filed(tmp_path / "store", config(16))
    assert resident(store) == 0 and store.digest() == before
    store.close()


@pytest.mark.parametrize(
    ("url", "more"),
    [("memory://", {}), ("kb", {"encryption": "subject"}), ("kb", {"readonly": True})],
)
def test_where_vectors_cannot_be_read_from_files_it_says_so(
    tmp_path: Path, url: str, more: dict[str, Any]
) -> None:
    place = url if "://" in url else tmp_path / url
    if "readonly" in more:
        Memory.open(place, encoder="hash:8").close()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Unsupported, match=r"files"):
        Memory.open(place, encoder="hash:8", vectors="disk", **more)
    for wrong in ("cloud", None, 3, np.array(["disk", "ram"])):
        with pytest.raises(StoreError, match="'ram', or 'disk'"):
            Memory.open(place, encoder="hash:8", vectors=wrong)  # a wrong one
    assert sorted(tmp_path.rglob("*")) == before  # no folder is left half made


def test_an_encrypted_memory_refuses_vectors_on_disk_and_is_as_it_was(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "kb", encoder="hash:8", encryption="subject") as memory:
        memory.add("one", ids="a")
    with pytest.raises(Unsupported, match="encrypted"):
        Memory.open(tmp_path / "kb", vectors="disk")
    with Memory.open(tmp_path / "kb") as memory:
        assert memory.count() == 1


def test_a_byte_that_changes_while_the_store_is_open_is_never_served(tmp_path: Path) -> None:
    store = filed(tmp_path / "store", config(16))
    content = fill(store, [record(f"a{i}", subject="s") for i in range(12)])
    fill(store, [record("b", subject="s")], seed=1)
    store.delete(["a1"])
    store.purge()  # into one piece
    (path,) = (tmp_path / "store" / "pieces").rglob("data/*.lance")
    data = bytearray(path.read_bytes())
    data[data.index(content[5].tobytes()) + 3] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="restore it from a backup"):
        store.digest()
    with pytest.raises(StoreCorrupt, match="restore it from a backup"):
        store.search(Query(content[4], 3))
    with pytest.raises(StoreCorrupt, match="restore it from a backup"):
        fill(store, [record("a5", subject="s")], seed=2, replace=True)
    store.delete(["b"])
    # It would come into a piece with a digest of its own.
    with pytest.raises(StoreError, match=r"can't purge.*were changed.*from a backup"):
        store.purge()
    assert store.get(["a5"])["a5"].text == "text of a5"
    store.close()
    with pytest.raises(StoreCorrupt, match="bytes were changed"):
        filed(tmp_path / "store", config(16))
