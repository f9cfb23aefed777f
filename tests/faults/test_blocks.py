"""Below the files: what the blocks of a disk hold once something is gone, on a real ext4."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from forgetnet import Memory, Record, opening, restore
from forgetnet.store import StoreConfig

KEY = bytes(range(32))
OPTIONS = {"encoder": "vectors:32", "key": KEY}
MANY = 50
SIZE = 40 << 20
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def call(*words: str | Path) -> bool:
    told = [str(word) for word in words]
    return subprocess.run(told, capture_output=True, check=False).returncode == 0


class Image:
    """An ext4 in a file, mounted as a disk is."""

    def __init__(self, path: Path, options: str = "data=ordered") -> None:
        self._file, self.folder = path / "image", path / "mounted"
        self.folder.mkdir(parents=True)
        self._file.touch()
        os.truncate(self._file, SIZE)
        made = call("mkfs.ext4", "-q", "-F", "-J", "size=4", self._file)
        if not made or not call("mount", "-o", f"loop,{options}", self._file, self.folder):
            pytest.skip("an ext4 in a file can't be mounted here")

    def raw(self) -> bytes:
        """Every byte of the disk, once it has been told all."""
        assert call("sync", "-f", self.folder)
        return self._file.read_bytes()

    def close(self) -> bytes:
        """Unmount it, and return every byte."""
        assert call("umount", self.folder)
        return self._file.read_bytes()

    def drop(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            call("umount", "-l", self.folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Image]]:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("an ext4 in a file is mounted by root, with mkfs.ext4")
    images: list[Image] = []

    def make(name: str, **options: str) -> Image:
        images.append(Image(tmp_path / name, **options))
        return images[-1]

    yield make
    for image in images:
        image.drop()


@pytest.fixture(autouse=True)
def small_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "StoreConfig", partial(StoreConfig, cap=64))


def words_of(n: int) -> str:
    return "".join(np.random.default_rng(n).choice(list("abcdefghijklmnop"), 60))


def vector_of(n: int) -> np.ndarray:
    drawn = np.random.default_rng(1_000 + n).standard_normal(32)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


class Found:
    """How many of the secret texts and vectors a disk holds a piece of."""

    def __init__(self, raw: bytes, stored: dict[int, bytes]) -> None:
        blocks = np.frombuffer(raw, np.uint8).reshape(-1, 4096)
        data = blocks[blocks.any(axis=1)].tobytes()
        self.texts = sum(any(part in data for part in _parts(words_of(n).encode())) for n in stored)
        self.vectors = sum(any(part in data for part in _parts(row)) for row in stored.values())
        self.ids = sum(name_of(n).encode() in data for n in stored)


def _parts(value: bytes) -> list[bytes]:
    size = len(value) // 3
    return [value[at : at + size] for at in (0, size, 2 * size)]


def name_of(n: int) -> str:
    return f"canary-{n:03}-" + words_of(5_000 + n)[:12]


def secret(n: int) -> Record:
    return Record(words_of(n), id=name_of(n), subject="ann", vector=vector_of(n))


def filled(path: Path) -> tuple[Memory, dict[int, bytes]]:
    """Fifty of Ann's records among others, in pieces, in tails and in both; and their vectors."""
    memory = Memory.open(path, **OPTIONS)
    others = [
        Record(f"nothing to see {n}", id=f"other-{n}", subject=f"s{n % 20}", vector=vector_of(n))
        for n in range(200, 400)
    ]
    memory.add(others[:100])
    memory.add([secret(n) for n in range(30)])
    memory.delete("other-200")
    memory.purge()
    memory.add(others[100:])
    for n in range(30, MANY):
        memory.add(secret(n))
    vectors = {n: memory.get(name_of(n), vector=True).vector.tobytes() for n in range(MANY)}
    return memory, vectors


def forget(memory: Memory) -> None:
    assert memory.forget(subject="ann").status == "erased"


def delete_and_purge(memory: Memory) -> None:
    memory.delete([name_of(n) for n in range(MANY)])
    memory.purge()


def update_and_purge(memory: Memory) -> None:
    for n in range(MANY):
        memory.update(name_of(n), "something else", vector=vector_of(2_000 + n))
    memory.purge()


def hold_and_lift(memory: Memory) -> None:
    mark = memory.hold(subject="ann", reason="matter 12")
    memory.update("other-210", "nothing new", vector=vector_of(3_000))
    assert memory.forget(subject="ann").status == "unsupported"
    memory.purge()
    (receipt,) = memory.lift(mark.name)
    assert receipt.status == "erased"


def expire_and_sweep(memory: Memory) -> None:
    for n in range(MANY):
        memory.update(name_of(n), expires_at=TOMORROW - timedelta(days=2))
    assert memory.sweep().status == "erased"


VERBS = [forget, delete_and_purge, update_and_purge, hold_and_lift, expire_and_sweep]


@pytest.mark.parametrize(
    "verb", [VERBS[0], *(pytest.param(verb, marks=pytest.mark.slow) for verb in VERBS[1:])]
)
def test_what_is_gone_from_the_files_is_gone_from_the_blocks(
    disk: Callable[..., Image], verb: Callable[[Memory], None]
) -> None:
    image = disk("disk")
    memory, stored = filled(image.folder / "kb")
    before = Found(image.raw(), stored)
    assert (before.texts, before.vectors, before.ids) == (MANY, MANY, MANY)
    verb(memory)
    memory.close()
    after = Found(image.close(), stored)
    assert (after.texts, after.vectors) == (0, 0)
    assert after.ids == (MANY if verb is update_and_purge else 0)


@pytest.mark.slow
def test_a_restore_leaves_no_block_of_what_was_forgotten_since(
    disk: Callable[..., Image], tmp_path: Path
) -> None:
    memory, stored = filled(tmp_path / "kb")
    backup = memory.backup(tmp_path / "backups", progress=False)
    found = []
    for name in ("before", "after"):
        image = disk(name)
        done = restore(backup, image.folder / "kb", progress=False, **OPTIONS)
        found.append((done.records, (seen := Found(image.close(), stored)).texts, seen.vectors))
        if name == "before":
            memory.forget(subject="ann")
    memory.close()
    assert found == [(199 + MANY, MANY, MANY), (199, 0, 0)]


def test_unlinking_alone_would_leave_every_block(
    disk: Callable[..., Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the others would show nothing."""
    image = disk("disk")
    memory, stored = filled(image.folder / "kb")
    with monkeypatch.context() as patch:
        patch.setattr("forgetnet.files._zero", lambda *_: None)
        forget(memory)
    memory.close()
    left = Found(image.close(), stored)
    assert (left.texts, left.vectors) == (MANY, MANY)


@pytest.mark.slow
def test_a_file_system_that_journals_data_keeps_what_no_file_call_reaches(
    disk: Callable[..., Image],
) -> None:
    """A limit, and not a promise: see *What is not promised*."""
    image = disk("disk", options="data=journal")
    memory, stored = filled(image.folder / "kb")
    forget(memory)
    memory.close()
    left = Found(image.close(), stored)
    assert left.texts and left.vectors


@pytest.mark.slow
def test_a_backup_that_is_only_unlinked_stays_in_the_blocks(disk: Callable[..., Image]) -> None:
    """Another limit: backups are the caller's to delete."""
    image = disk("disk")
    memory, stored = filled(image.folder / "kb")
    backup = memory.backup(image.folder / "backups", progress=False)
    forget(memory)
    memory.close()
    backup.unlink()
    left = Found(image.close(), stored)
    assert left.texts and left.vectors
