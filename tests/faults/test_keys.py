"""Keys by subject on disks that fail: none is trusted unless durable, or outlives its rows."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from forgetnet import Record, StoreError
from tests.faults.cuts import PowerCutError, failing
from tests.test_encryption import filled, keys, open_, rows


@pytest.mark.parametrize("count", [2, 300])
def test_a_key_that_no_row_came_for_ends_with_the_next_purge(tmp_path, monkeypatch, count):
    """A full disk takes rows after their keys were made, or the keys themselves."""
    path = tmp_path / "kb"
    memory = filled(path)
    for name in ("pwrite", "write"):

        def full(*given):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)  # of many rows, keys alone are written by this process
            if count == 2 or name == "pwrite":
                with pytest.raises(StoreError, match="No space"):
                    memory.add(rows("cid", count))
        assert memory.get("cid-0") is None
    memory.purge()
    assert keys(path) == 2
    memory.add(rows("cid", count))
    memory.close()
    with open_(path) as memory:
        assert memory.count() == 8 + count
        assert keys(path) == 3


def test_a_key_whose_rows_a_crash_kept_away_is_not_trusted(tmp_path):
    """It may be in the cache of the disk alone: a record sealed with it would be lost with that."""
    path = tmp_path / "kb"
    filled(path).close()
    before = (path / "store" / "keys").read_bytes()
    memory = open_(path)
    with failing(1, PowerCutError, after=True) as calls, pytest.raises(PowerCutError):
        memory.add(rows("cid", 1))
    assert calls == ["put_slots"]
    memory._store._lock.release()
    assert keys(path) == 3
    made = (path / "store" / "keys").read_bytes()[len(before) :]
    with open_(path) as memory:
        assert keys(path) == 2
        memory.add(rows("cid", 1))
        assert keys(path) == 3
    assert made not in (path / "store" / "keys").read_bytes()


def test_a_failed_fsync_of_keys_stops_all_writing(tmp_path, monkeypatch):
    real, asked = os.fsync, []

    def fsync(fd):
        asked.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        if asked[-1].endswith("/store/keys"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    for verb in ("add", "purge"):
        path = tmp_path / verb
        memory = filled(path)
        memory.delete([f"ann-{n}" for n in range(4)])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(StoreError):
                memory.add(rows("cid", 2)) if verb == "add" else memory.purge()
        with pytest.raises(StoreError, match="fsync failed"):
            memory.add("quincunx")
        memory.close()
        with open_(path) as memory:
            memory.purge()
            assert keys(path) == 1
            memory.add(rows("cid", 2))
        with open_(path) as memory:
            assert memory.count() == 6


def test_ending_keys_looks_at_nobody_else(tmp_path, monkeypatch):
    from forgetnet_stores.lance.ring import Ring

    memory = open_(tmp_path / "kb", encryption="subject")
    memory.add([Record(f"quincunx {n}", id=f"r{n}", subject=f"s{n % 90}") for n in range(300)])
    named, real = [], Ring.end
    monkeypatch.setattr(Ring, "end", lambda self, told: named.extend(told) or real(self, told))
    memory.delete([f"r{n}" for n in range(0, 300, 90)])
    memory.delete("r1")
    memory.purge()
    assert named == ["subject s0"]
    assert keys(tmp_path / "kb") == 89
    memory.purge()
    assert named == ["subject s0"]
    memory.close()
    with open_(tmp_path / "kb") as memory:
        memory.delete([f"r{n}" for n in range(1, 300, 90)])
    with open_(tmp_path / "kb") as memory:  # who left before this process did
        memory.purge()
        assert keys(tmp_path / "kb") == 88
        assert memory.count() == 300 - 8
