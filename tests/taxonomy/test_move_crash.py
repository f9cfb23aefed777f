"""Moves of topics through power cuts and failing disks at every durable step."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from forgetnet import ForgetNetError, Record
from forgetnet.audit.layout import check_layout
from forgetnet_stores.lance.catalogue import Lock
from tests.faults.cuts import PowerCutError, failing
from tests.forget.test_keeping import holding
from tests.taxonomy.test_moves import filled, open_

MOVED = {"health": "wellbeing", "body/allergies": "wellbeing/allergies", "work": "body"}
OLD = (b"health/allergies", b"health/medication", b"body/allergies")
MANY = [Record(f"note {i}", id=f"n{i}", subject=f"s{i % 7}", topic="work") for i in range(40)]


@pytest.fixture
def locks(monkeypatch) -> list[Lock]:
    """Every lock that is taken, so that one can be let go of as by the end of a process."""
    taken: list[Lock] = []
    real = Lock.__init__

    def init(self: Lock, path: Path) -> None:
        real(self, path)
        taken.append(self)

    monkeypatch.setattr(Lock, "__init__", init)
    return taken


def cut(at: int, locks: list[Lock], step: Callable[[], object], *, after: bool) -> bool:
    """Do something with a power cut at the n-th durable step; tell whether it came."""
    try:
        with failing(at, PowerCutError, after=after):
            step()
    except PowerCutError:
        with contextlib.suppress(OSError):  # let go of on the way out
            locks[-1].release()
        return True
    return False


def begun(path: Path, moved: dict[str, str] | None = None) -> str:
    """Make the memory before a move, or the one that was written so; return its digest."""
    with filled(path, moved) as memory:
        memory.add(
            [Record(r.text, r.id, r.subject, (moved or {}).get("work", "work")) for r in MANY]
        )
        return memory.digest()


def whole(path: Path, before: str, after: str) -> bool:
    """Check that a memory is as before or as asked, and says nothing else; tell if as asked."""
    with open_(path) as memory:
        assert memory.digest() in {before, after}
        done = memory.digest() == after
        assert not list((path / "journal").iterdir())
        assert check_layout(path) == []
        found = {r.id for r in memory.get_all({"topic": "body"})}
        assert (len(found) == 41) is done
        assert set(memory.forget(topic="body", dry_run=True).ids) >= found
    if done:
        assert not [word for word in OLD if holding(path, word)]
    return done


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_cut_at_any_durable_step_all_is_moved_or_nothing_and_no_old_path_is_left(
    tmp_path, locks, after
):
    first = begun(tmp_path / "first")
    asked = begun(tmp_path / "asked", MOVED)
    ends = set()
    at = 0
    while True:
        at += 1
        path = tmp_path / "kb"
        shutil.copytree(tmp_path / "first", path)
        memory = open_(path)
        came = cut(at, locks, lambda memory=memory: memory.refile(MOVED), after=after)
        if came:  # and once more while that is being finished
            cut(1 + at % 5, locks, lambda path=path: open_(path).close(), after=after)
        else:
            memory.close()
        ends.add(whole(path, first, asked))
        shutil.rmtree(path)
        if not came:
            break
    assert ends == {False, True} and at > 5


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("once", [False, True], ids=["from then on", "once"])
def test_a_failing_disk_says_so_and_what_it_says_is_so(tmp_path, code, once):
    first = begun(tmp_path / "first")
    asked = begun(tmp_path / "asked", MOVED)
    at = 0
    while True:
        at += 1
        path = tmp_path / "kb"
        shutil.copytree(tmp_path / "first", path)
        memory = open_(path)
        failed = ""
        with failing(at, lambda: OSError(code, "disk"), after=False, once=once) as calls:
            try:
                memory.refile(MOVED)
            except ForgetNetError as error:
                failed = str(error)
        memory.close()
        done = whole(path, first, asked)
        if "nothing was" in failed:
            assert not done, (at, failed)
        if not failed or "the topics are moved" in failed:
            assert done, (at, failed)
        shutil.rmtree(path)
        if len(calls) < at:
            assert not failed
            break
    assert at > 5


def test_the_journal_of_a_move_names_no_topic_and_no_record(tmp_path):
    begun(tmp_path / "kb")
    seen = []
    memory = open_(tmp_path / "kb")
    real = memory._store.add

    def add(*given, **more):
        seen.extend(path.read_bytes() for path in (tmp_path / "kb" / "journal").iterdir())
        real(*given, **more)

    memory._store.add = add
    memory.refile(MOVED)
    memory.close()
    assert seen == [b"a purge is owed\n"]
