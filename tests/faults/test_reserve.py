"""A forget that was accepted comes to its end on a disk that ran full meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forgetnet import ForgetIncomplete, Memory, Receipt, StoreError
from forgetnet.audit.layout import check_layout
from forgetnet.files import is_full, reserve
from forgetnet.forget.backups import Backups
from forgetnet.forget.journal import Journal
from forgetnet.ledger import Ledger
from forgetnet_stores.lance.engine import LanceStore
from tests.faults.disks import SmallDisk, disk, may_mount

pytestmark = pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
KEY = bytes(range(32))
SECRET = "the blue heron nests behind the old mill"
STEPS = [
    (Journal, "open"), (Backups, "note"), (LanceStore, "delete"), (LanceStore, "purge"),
    (Receipt, "save"), (Ledger, "append"),
]  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallDisk]:
    with disk("tmpfs", tmp_path / "disk") as found:
        yield found


def filled(small: SmallDisk) -> Memory:
    memory = Memory.open(small.path / "kb", encoder="hash:32", key=KEY)
    memory.add([f"{SECRET} {n} " + "long " * 200 for n in range(200)], subject="ann")
    memory.add([f"nothing to see {n} " + "long " * 200 for n in range(200)], subject="bob")
    memory.purge()
    return memory


def full_after(patch: pytest.MonkeyPatch, owner: Any, step: str, fill: Callable[[], None]) -> None:
    """Have the disk run full when a step is done for the first time."""
    real, calls = getattr(owner, step), []

    def then_full(*given: Any, **more: Any) -> Any:
        result = real(*given, **more)
        if not calls:
            calls.append(step)
            fill()
        return result

    patch.setattr(owner, step, then_full)


@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
def test_a_disk_that_runs_full_after_the_intent_strands_no_forget(
    small: SmallDisk, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str
) -> None:
    with filled(small) as memory:
        full_after(monkeypatch, owner, step, small.fill_up)
        receipt = memory.forget(subject="ann")
        assert (receipt.status, memory.count()) == ("erased", 200)
    assert check_layout(small.path / "kb") == []
    for file in (small.path / "kb").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()
    small.free()
    with Memory.open(small.path / "kb", encoder="hash:32", key=KEY) as memory:
        assert memory.forget(subject="bob").status == "erased"


def test_without_the_reserve_it_would_be_stranded(
    small: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(small) as memory:
        full_after(monkeypatch, Journal, "open", small.fill_up)
        monkeypatch.setattr(LanceStore, "spare", lambda _self: False)
        with pytest.raises(ForgetIncomplete) as stopped:
            memory.forget(subject="ann")
        assert is_full(stopped.value)


def test_what_there_is_no_room_to_finish_is_refused_before_it_begins(small: SmallDisk) -> None:
    with filled(small) as memory:
        small.fill_up()
        with pytest.raises(StoreError, match="nothing was deleted"):
            memory.forget(subject="ann")
        assert memory.count() == 400
        small.free()
        assert memory.forget(subject="ann").status == "erased"


def test_the_reserve_takes_real_blocks_and_gives_up_nothing_when_it_cannot_grow(
    small: SmallDisk,
) -> None:
    path = small.path / "reserve"
    reserve(path, 1 << 20)
    assert path.stat().st_blocks * 512 >= 1 << 20
    small.fill_up()
    with pytest.raises(OSError, match="space"):
        reserve(path, 2 << 20)
    assert path.stat().st_size == 1 << 20 and path.stat().st_blocks * 512 >= 1 << 20
    assert not path.read_bytes().strip(b"\0")
