"""A piece that Lance left unfinished without a word is not taken for one."""

from __future__ import annotations

from pathlib import Path

import lance
import pytest

from forgetnet.errors import StoreError
from forgetnet_stores.lance import LanceStore
from tests.contract.kit import config, fill, record

FEW = [record(f"r{i}", subject=f"s{i}") for i in range(30)]


@pytest.mark.parametrize("harm", ["short", "second name", "unreadable"])
def test_a_piece_that_was_not_written_whole_is_never_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    store = LanceStore(tmp_path / "store", config())
    fill(store, FEW)
    store.delete(["r1"])
    before = store.digest()
    real = lance.write_dataset

    def badly(table: object, path: str, **more: object) -> object:
        made = real(table, path, **more)
        (data,) = (Path(path) / "data").iterdir()
        (manifest,) = (Path(path) / "_versions").glob("*.manifest")
        if harm == "short":  # what a failed write in the background leaves
            data.write_bytes(data.read_bytes()[:-100])
        elif harm == "second name":  # what a failed unlink leaves
            manifest.with_name(manifest.name + "#1").write_bytes(b"")
        else:
            manifest.write_bytes(manifest.read_bytes()[:-20])
        return made

    with monkeypatch.context() as patch:
        patch.setattr(lance, "write_dataset", badly)
        with pytest.raises(StoreError, match="purge again"):
            store.purge()
        with pytest.raises(StoreError, match="nothing was stored"):
            fill(store, [record(f"x{i}") for i in range(300)])
    assert store.digest() == before
    store.close()
    store = LanceStore(tmp_path / "store", config())
    assert store.digest() == before
    assert store.purge().pieces
    store.close()
