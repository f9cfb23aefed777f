"""After an fsync that failed nothing more is written until the folder is opened anew."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forgetnet import ForgetNetError, Memory, StoreError
from forgetnet_stores.lance import LanceStore
from tests.contract.kit import config, fill, record
from tests.faults import story
from tests.faults.story import OPERATIONS, Operation, Scene

SOME = ("add", "add pieces", "delete, purge", "forget", "hold, forget, lift", "sweep", "update")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "root"
    story.make("plain", path)
    return path


@contextmanager
def failing(at: int) -> Iterator[list[tuple[int, int]]]:
    """Have the n-th fsync fail; collect the files synced, and refuse a second try on that one."""
    real, synced, written = os.fsync, list[tuple[int, int]](), set[int]()
    write, pwrite, unlink, replace = os.write, os.pwrite, os.unlink, os.replace
    rmdir = os.rmdir

    def fsync(fd: int) -> None:
        about = os.fstat(fd)
        synced.append((about.st_ino, len(synced) + 1))
        if len(synced) == at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if at and len(synced) > at and about.st_ino == synced[at - 1][0]:
            assert about.st_ino in written, "a second fsync of pages that nobody wrote to since"
        real(fd)

    def wrote(fd: int | Path) -> None:
        if len(synced) >= at:
            written.add(os.stat(fd).st_ino)  # noqa: PTH116 # or a descriptor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "write", lambda fd, data: (wrote(fd), write(fd, data))[1])
        patch.setattr(os, "pwrite", lambda fd, data, at: (wrote(fd), pwrite(fd, data, at))[1])
        patch.setattr(os, "rmdir", lambda path: (wrote(Path(path).parent), rmdir(path))[1])
        patch.setattr(os, "unlink", lambda path: (wrote(Path(path).parent), unlink(path))[1])
        patch.setattr(
            os, "replace", lambda path, to: (wrote(Path(to).parent), replace(path, to))[1]
        )
        yield synced


def steps(operation: Operation, memory: Memory, root: Path) -> tuple[int, bool]:
    """Take the steps until one fails; return how many were done, and whether one failed."""
    scene, done = Scene(root, memory), 0
    try:
        for step in operation.steps:
            step.verb(scene)
            done += 1
    except ForgetNetError:
        return done, True
    return done, False


def check(plain: Path, root: Path, name: str, at: int) -> bool:
    """Fail the n-th fsync of an operation; tell whether there was one."""
    operation = OPERATIONS[name]
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(plain, root)
    memory = story.open_(root / "kb")
    before = {p: p.read_bytes() for p in (root / "kb").rglob("*") if p.is_file()}
    with failing(at) as synced:
        done, said = steps(operation, memory, root)
        failed = len(synced) >= at
        after = {p: p.read_bytes() for p in (root / "kb").rglob("*") if p.is_file()}
        if failed:
            for write in (
                lambda: memory.add("one more"),
                lambda: memory.delete("b3"),
                lambda: memory.forget(subject="bob"),
                lambda: memory.restrict(subject="bob"),
                memory.purge,
            ):
                with pytest.raises(StoreError, match="open"):
                    write()
            now = {p: p.read_bytes() for p in (root / "kb").rglob("*") if p.is_file()}
            assert now == after, "something was written after an fsync had failed"
            assert said or after != before
        memory.close()
    assert story.judge(operation, root, done) == []
    with story.open_(root / "kb") as again:  # which counts as sound from now on
        again.add("one more")
    return failed


@pytest.mark.parametrize("name", ["add", "forget", "hold, forget, lift"])
def test_a_sample_of_failed_fsyncs_stops_all_writing_until_it_is_reopened(
    plain: Path, tmp_path: Path, name: str
) -> None:
    for at in (1, 2, 5, 9):
        check(plain, tmp_path.resolve() / "root", name, at)


@pytest.mark.faults
@pytest.mark.parametrize("name", SOME)
def test_every_failed_fsync_stops_all_writing_until_it_is_reopened(
    plain: Path, tmp_path: Path, name: str
) -> None:
    at = 1
    while check(plain, tmp_path.resolve() / "root", name, at):
        at += 1
    assert at > 2


def test_a_store_refuses_to_go_on_after_an_fsync_that_it_could_do_without(tmp_path: Path) -> None:
    """A leaf that is full is laid out anew after an add; the rows are durable before that."""
    put_off = 0
    for at in range(1, 40):
        store = LanceStore(tmp_path / f"store{at}", config(cap=4))
        fill(store, [record(f"r{n}", subject=f"s{n}") for n in range(4)])
        with failing(at) as synced, contextlib.suppress(StoreError):
            fill(store, [record(f"x{n}", subject=f"x{n}") for n in range(4)], seed=1)
            if len(synced) < at:
                store.close()
                break
            put_off += 1
        for ask in (store.count, store.purge, store.digest):
            with pytest.raises(StoreError, match=r"reopen|open it again"):
                ask()
        store.close()
        store = LanceStore(tmp_path / f"store{at}", config())
        fill(store, [record("late")], seed=2)
        store.close()
    assert put_off
