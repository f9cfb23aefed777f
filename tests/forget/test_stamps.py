"""Stamps show what changed anywhere in a folder, and follow no link out of it or round in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forgetnet import Memory
from forgetnet.forget.stamps import exceed, stamp
from forgetnet_stores.lance import LanceStore


def folder_of(path: Path) -> Path:
    (path / "data" / "inner").mkdir(parents=True)
    (path / "data" / "rows").write_bytes(b"0123456789")
    (path / "data" / "inner" / ".hidden").write_bytes(b"abc")
    (path / "manifest").write_bytes(b"")
    return path


@pytest.mark.parametrize("name", ["data", "data/inner", "data/rows", "data/inner/.hidden", "."])
def test_a_change_anywhere_in_a_folder_changes_its_stamp(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path / "piece")
    before = stamp(folder)
    assert before == stamp(folder)
    assert before[0] >= 13 and stamp(folder / "data" / "rows")[0] == 10
    os.utime(folder / name, ns=(0, before[1] + 1))
    assert stamp(folder) == (before[0], before[1] + 1)
    (folder / "data" / "rows").write_bytes(b"01234567890")
    assert stamp(folder)[0] == before[0] + 1


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder, outside = folder_of(tmp_path / "piece"), folder_of(tmp_path / "outside")
    (folder / "data" / "round").symlink_to("..")
    (folder / "out").symlink_to(outside)
    (folder / "rows").symlink_to(outside / "data" / "rows")
    (folder / "nowhere").symlink_to("nobody")
    before = stamp(folder)
    (outside / "data" / "rows").write_bytes(bytes(1000))
    os.utime(outside, ns=(0, before[1] + 1))
    assert stamp(folder) == before


def test_files_exceed_a_size_together(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(bytes(10))
    assert exceed(paths, 29) and not exceed(paths, 30)
    assert exceed([*paths, tmp_path / "missing"], 25)  # of many, only some are asked
    assert not exceed([], 0)


@pytest.mark.parametrize("moves", [True, False])
def test_a_purge_that_touches_other_files_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, moves: bool
) -> None:
    purge = LanceStore.purge

    def clumsy(store: LanceStore) -> object:
        done = purge(store)
        for path in sorted(others)[:moves]:
            os.utime(path, ns=(1, 1 << 62))
        return done

    with Memory.open(tmp_path / "kb", encoder="hash:8") as memory:
        for i in range(8):
            texts = [f"number {j} of {i}" for j in range(1000)]
            ids = [f"r{i}", *(f"r{i}-{j}" for j in range(999))]
            memory.add(texts, ids=ids, subject=f"s{i}", progress=False)
        mine = set(memory._store.files(["r0"]))  # more is stored than one leaf takes
        others = set(memory._store.files()) - mine
        assert others
        monkeypatch.setattr(LanceStore, "purge", clumsy)
        receipt = memory.forget(ids="r0", verify="touched")
    checks = {c.check: c for surface in receipt.surfaces for c in surface.verification}
    assert checks["the other files are as they were"].hits == moves
    assert receipt.status == ("failed" if moves else "erased")
