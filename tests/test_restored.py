"""What a restore makes of holds, of logs that a crash or a neighbour left, and of hostile files."""

from __future__ import annotations

import io
import json
import random
import tarfile
from pathlib import Path

import pytest

from forgetnet import (
    ForgetIncomplete,
    ForgetNetError,
    Memory,
    Record,
    StoreCorrupt,
    StoreError,
    restore,
)
from forgetnet.forget.hashlog import HashLog
from tests.test_backup import OPTIONS, filled, holding, open_


def ids_of(memory: Memory) -> set[str]:
    return {record.id for record in memory.get_all()}


def found_in(memory: Memory) -> set[str]:
    return {hit.id for hit in memory.search("the secret number", k=9)}


def log_in(folder: Path) -> Path:
    (log,) = folder.glob("tombstones-*.jsonl")
    return log


def test_a_hold_of_then_lets_go_of_the_ids_that_were_erased_since(tmp_path):
    with filled(tmp_path / "kb") as memory:
        hold = memory.hold(ids=["id-0", "id-1"], reason="case 1")
        backup = memory.backup(tmp_path / "p")
        memory.lift(hold.name)
        memory.forget(ids="id-0")
    done = restore(backup, tmp_path / "back", **OPTIONS)
    assert done.receipt.status == "erased"
    with open_(tmp_path / "back") as back:
        assert [mark.ids for mark in back.holds()] == [("id-1",)]
    assert holding(tmp_path / "back", "id-0") == []


@pytest.mark.parametrize(
    ("asked", "left"), [({"ids": "id-0"}, ["s0"]), ({"subject": "s0"}, [])], ids=["some", "all"]
)
def test_a_hold_of_then_brings_nothing_back_and_ends_where_nobody_is_left(tmp_path, asked, left):
    with filled(tmp_path / "kb") as memory:
        hold = memory.hold(subject="s0", reason="case 1")
        memory.forget(**asked)
        backup = memory.backup(tmp_path / "p")
        memory.lift(hold.name)
        assert memory.get("id-0") is None
    done = restore(backup, tmp_path / "back", **OPTIONS)
    assert done.receipt.status == "erased", done.receipt.explain()
    with open_(tmp_path / "back") as back:
        assert back.get("id-0") is None
        assert (back.get("id-3") is not None) == bool(left)
        assert [mark.subject for mark in back.holds()] == left
    assert left or holding(tmp_path / "back", '"s0"') == []


def test_a_restore_erases_nothing_that_a_hold_kept_when_its_source_went(tmp_path):
    with filled(tmp_path / "kb") as memory:
        memory.add([Record("made of it", id="made", derived_from=("id-0",))])
        memory.hold(ids="made", reason="case 1")
        backup = memory.backup(tmp_path / "p")
        memory.forget(ids="id-0")
        assert memory.get("made") is not None
    restore(backup, tmp_path / "back", **OPTIONS)
    with open_(tmp_path / "back") as back:
        assert ids_of(back) == {"made", "id-1", "id-2", "id-3", "id-4", "id-5"}
        assert "made" not in found_in(back)


@pytest.mark.parametrize("held_before", [True, False])
def test_a_forget_that_a_hold_put_off_is_owed_after_a_restore_too(tmp_path, held_before):
    with filled(tmp_path / "kb") as memory:
        backup = None if held_before else memory.backup(tmp_path / "p")
        memory.hold(ids="id-0", reason="case 1")
        backup = backup or memory.backup(tmp_path / "p")
        memory.forget(subject="s0")
        assert "id-0" not in found_in(memory)
    restore(backup, tmp_path / "back", **OPTIONS)
    with open_(tmp_path / "back") as back:
        assert "id-0" in ids_of(back)
        assert "id-0" not in found_in(back)
        assert "id-3" not in ids_of(back)
        (hold,) = back.holds()
        (receipt,) = back.lift(hold.name)
        assert receipt.status == "erased"
        assert "id-0" not in ids_of(back)


def test_what_isnt_the_memorys_own_is_in_no_backup(tmp_path):
    with filled(tmp_path / "kb") as memory:
        memory.restrict(ids="id-3")
        strays = [tmp_path / "kb" / name for name in ("notes.txt", "store/.DS_Store", "marks/.x")]
        for stray in strays:
            stray.write_text("x")
        backup = memory.backup(tmp_path / "p")
        deep = tmp_path / "kb" / "store" / "notes.txt"
        deep.write_text("the secret number 0")
        worse = memory.backup(tmp_path / "p")
        for stray in (*strays, deep):
            stray.unlink()
        assert memory.forget(ids="id-0").status == "erased"
    assert restore(backup, tmp_path / "back", **OPTIONS).receipt.status == "erased"
    with pytest.raises(ForgetIncomplete, match="nothing was restored"):
        restore(worse, tmp_path / "worse", **OPTIONS)
    assert not (tmp_path / "worse").exists()


def test_a_neighbours_log_that_went_keeps_nobody_from_restoring(tmp_path):
    with filled(tmp_path / "kb") as memory:
        with Memory.open(tmp_path / "other", encoder="hash:16") as other:
            other.add("somebody else's")
            other.backup(tmp_path / "p")
        theirs = log_in(tmp_path / "p")
        backup = memory.backup(tmp_path / "p")
        memory.backup(tmp_path / "p")
        assert len(list((tmp_path / "p").glob("tombstones-*"))) == 2  # one log each
        memory.forget(ids="id-0")
        theirs.unlink()
        assert restore(backup, tmp_path / "back", **OPTIONS).records == 5
        log_in(tmp_path / "p").unlink()
        with pytest.raises(StoreError, match="missing"):
            restore(backup, tmp_path / "again", **OPTIONS)


@pytest.mark.parametrize("torn", [b'{"hash": "12', b"\0" * 100, b'{"hash"' + b"\0" * 70_000])
def test_a_torn_end_of_a_log_here_or_there_is_mended(tmp_path, torn):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "p")
        memory.forget(ids="id-0")
    for folder in (tmp_path / "p", tmp_path / "kb" / "backups"):
        with log_in(folder).open("ab") as file:
            file.write(torn)
    assert restore(backup, tmp_path / "first", **OPTIONS).records == 5
    with open_(tmp_path / "kb") as memory:
        receipt = memory.forget(ids="id-1")
        assert not any("not be reached" in told for told in receipt.predicate["exclusions"])
        memory.backup(tmp_path / "p")
    assert log_in(tmp_path / "p").read_bytes() == log_in(tmp_path / "kb/backups").read_bytes()
    assert restore(backup, tmp_path / "back", **OPTIONS).records == 4


def test_a_log_in_whose_middle_a_byte_is_gone_is_refused_rather_than_cut(tmp_path):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "p")
        memory.forget(ids="id-0")
        memory.forget(ids="id-1")
    data = bytearray(log_in(tmp_path / "p").read_bytes())
    data[5] = 0
    log_in(tmp_path / "p").write_bytes(data)
    with pytest.raises(StoreCorrupt, match="can't be read"):
        restore(backup, tmp_path / "back", **OPTIONS)


def test_a_long_log_is_not_read_anew_for_every_name(tmp_path, monkeypatch):
    log = HashLog(tmp_path / "log", b"key")
    log.start()
    log.add(f"name {n}" for n in range(5000))
    copy = tmp_path / "copy"
    log.mirror(copy)
    assert log.has("name 7")
    read: list[int] = []
    real = HashLog._bytes
    monkeypatch.setattr(
        HashLog, "_bytes", lambda *given: read.append(len(data := real(*given))) or data
    )
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read whole"))
    log.add(["one more"])
    log.mirror(copy)
    assert log.has("one more")
    assert log.has("name 4999")
    assert not log.has("name 5000")
    assert sum(read) < 1 << 18 < copy.stat().st_size
    monkeypatch.undo()
    assert copy.read_bytes() == log.path.read_bytes()
    copy.write_bytes(copy.read_bytes()[77:])
    with pytest.raises(StoreCorrupt, match="not a copy"):
        log.mirror(copy)


def rewritten(backup: Path, change: dict[str, object]) -> Path:
    """Write the archive once more, with other words in what it says of itself."""
    bad = backup.with_name("bad.forgetnet.tar")
    with tarfile.open(backup) as old, tarfile.open(bad, "w") as new:
        for member in old:
            data = old.extractfile(member).read()
            if member.name == "backup.json":
                data = json.dumps(json.loads(data) | change).encode()
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return bad


@pytest.mark.parametrize(
    "change", [{"files": ["a"]}, {"files": 3}, {"facts": {}}, {"facts": {"seen": {"x": "y"}}}]
)
def test_an_archive_that_says_nonsense_of_itself_is_refused(tmp_path, change):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "p")
    with pytest.raises(StoreCorrupt):
        restore(rewritten(backup, change), tmp_path / "back", **OPTIONS)
    assert not (tmp_path / "back").exists()


def test_no_changed_byte_of_a_backup_is_restored(tmp_path):
    with filled(tmp_path / "kb") as memory:
        wanted = memory.digest()
        backup = memory.backup(tmp_path / "p")
    data, draw = backup.read_bytes(), random.Random(5)
    bad = backup.with_name("bad.forgetnet.tar")
    for number in range(60):
        changed = bytearray(data)
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        bad.write_bytes(changed)
        target = tmp_path / f"back{number}"
        try:
            restore(bad, target, **OPTIONS)
        except ForgetNetError:
            assert not target.exists()
        else:  # a byte that says nothing, such as padding
            with open_(target, readonly=True) as back:
                assert back.digest() == wanted


def test_a_restore_says_nothing_was_restored_only_if_so(tmp_path, monkeypatch):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "p")

    def broken(_: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("forgetnet.restoring.sync_dir", broken)
        with pytest.raises(StoreError, match="it is there"):
            restore(backup, tmp_path / "back", **OPTIONS)
    with open_(tmp_path / "back") as back:
        assert back.count() == 6
    with monkeypatch.context() as patch:
        patch.setattr("forgetnet.restoring.unpack", lambda *_, **__: broken(tmp_path))
        with pytest.raises(StoreError, match="nothing was restored"):
            restore(backup, tmp_path / "other", **OPTIONS)
    assert not (tmp_path / "other").exists()


def test_a_restore_leaves_no_byte_of_what_had_only_been_deleted(tmp_path):
    with filled(tmp_path / "kb") as memory:
        memory.delete("id-0")
        backup = memory.backup(tmp_path / "p")
        wanted = memory.digest()
    assert b"id-0" in backup.read_bytes()
    assert restore(backup, tmp_path / "back", **OPTIONS).receipt is None
    assert holding(tmp_path / "back", "id-0") == []
    with open_(tmp_path / "back") as back:
        assert back.digest() == wanted
        assert back.residue(ids="id-0").clean


@pytest.mark.parametrize(
    "facts",
    [{"records": "8"}, {"places": "/"}, {"places": [1]}, {"sealed": True, "keys": ""},
     {"sealed": True, "keys": 3}, {"seen": []}, {"seen": {}}, {"seen": {"0" * 16: "1"}}],
)  # fmt: skip
def test_a_backup_whose_facts_make_no_sense_is_refused(tmp_path, facts):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "p")
    with tarfile.open(backup) as tar:
        told = json.load(tar.extractfile("backup.json"))["facts"]
    with pytest.raises(StoreCorrupt):
        restore(rewritten(backup, {"facts": told | facts}), tmp_path / "back", **OPTIONS)
    assert not (tmp_path / "back").exists()


def test_an_archive_of_nothing_but_brackets_is_refused(tmp_path):
    data = b"[" * 200_000
    with tarfile.open(tmp_path / "bad.forgetnet.tar", "w") as tar:
        entry = tarfile.TarInfo("backup.json")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    with pytest.raises(StoreCorrupt, match="not a whole backup"):
        restore(tmp_path / "bad.forgetnet.tar", tmp_path / "back", **OPTIONS)
