"""Backups: what is restored never holds what was forgotten since, whatever happened in between."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import tarfile
from pathlib import Path

import pytest

from forgetnet import Memory, Record, StoreCorrupt, StoreError, restore
from forgetnet.archive import read_archive
from forgetnet.model import ForgetNet
from tests.faults.cuts import PowerCutError, failing

KEY = bytes(range(32))
OPTIONS = {"encoder": "hash:16", "key": KEY}


def open_(path: str | Path, **more: object) -> Memory:
    return Memory.open(path, encoder="hash:16", key=KEY, **more)


def filled(path: Path) -> Memory:
    memory = open_(path)
    rows = [Record(f"the secret number {n}", id=f"id-{n}", subject=f"s{n % 3}") for n in range(6)]
    memory.add(rows)
    return memory


def holding(path: Path, words: str) -> list[str]:
    return [str(p) for p in path.rglob("*") if p.is_file() and words.encode() in p.read_bytes()]


def test_a_backup_comes_back_whole_and_without_what_was_forgotten_since(tmp_path):
    with filled(tmp_path / "kb") as memory:
        before = memory.digest()
        backup = memory.backup(tmp_path / "backups")
        memory.forget(subject="s1")
        memory.add("the secret number 99", ids=["id-99"])
        memory.delete("id-0")
    whole = restore(backup, tmp_path / "back", **OPTIONS)
    assert (whole.records, whole.receipt.status) == (4, "erased")
    with open_(tmp_path / "back") as back, open_("memory://") as twin:
        assert whole.receipt.verify(back.public_key).proven
        twin.add([back.get(f"id-{n}", vector=True) for n in (0, 2, 3, 5)])
        assert back.digest() == twin.digest() != before
        assert back.search("the secret number 1") == twin.search("the secret number 1")
    assert holding(tmp_path / "back", "id-1") == []
    assert holding(tmp_path / "back", "number 4") == []


def test_nothing_forgotten_means_the_same_digest_and_no_receipt(tmp_path):
    with filled(tmp_path / "kb") as memory:
        before = memory.digest()
        backup = memory.backup(tmp_path / "backups")
    done = restore(backup, tmp_path / "back", **OPTIONS)
    assert (done.receipt, done.records) == (None, 6)
    with open_(tmp_path / "back", readonly=True) as back:
        assert back.digest() == before


def test_tombstones_hold_no_name_and_receipts_say_what_backups_keep(tmp_path):
    with filled(tmp_path / "kb") as memory:
        plain = memory.forget(ids="id-5")
        assert not any("restore" in told for told in plain.predicate["exclusions"])
        memory.backup(tmp_path / "backups")
        receipt = memory.forget(ids="id-0")
        assert receipt.status == "erased"
        assert any("a restore forgets these" in told for told in receipt.predicate["exclusions"])
        shutil.move(tmp_path / "backups", tmp_path / "away")
        late = memory.forget(ids="id-1")
        assert any("could not be reached" in told for told in late.predicate["exclusions"])
        shutil.move(tmp_path / "away", tmp_path / "backups")
        memory.forget(ids="id-2")
    (log,) = (tmp_path / "backups").glob("tombstones-*.jsonl")
    assert len(log.read_text().splitlines()) == 3
    assert "id-" not in log.read_text()
    assert holding(tmp_path / "kb", "id-1") == []


def test_an_id_that_came_again_is_not_taken_for_the_one_that_went(tmp_path):
    with filled(tmp_path / "kb") as memory:
        first = memory.backup(tmp_path / "backups")
        memory.forget(ids="id-0")
        memory.add("another text", ids=["id-0"])
        second = memory.backup(tmp_path / "backups")
    assert restore(second, tmp_path / "two", **OPTIONS).records == 6
    assert restore(first, tmp_path / "one", **OPTIONS).records == 5


def test_what_a_restored_memory_forgets_an_older_backup_knows_too(tmp_path):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "backups")
        memory.forget(ids="id-0")
    restore(backup, tmp_path / "second", **OPTIONS)
    with open_(tmp_path / "second") as memory:
        memory.forget(ids="id-1")
    restore(backup, tmp_path / "third", **OPTIONS)
    with open_(tmp_path / "third") as memory:
        assert {r.id for r in memory.get_all()} == {"id-2", "id-3", "id-4", "id-5"}


def test_without_tombstones_nothing_is_restored(tmp_path):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "backups")
        memory.forget(ids="id-0")
        memory.backup(tmp_path / "other")
    alone = tmp_path / "alone" / backup.name
    alone.parent.mkdir()
    shutil.copy(backup, alone)
    with pytest.raises(StoreError, match="is missing"):
        restore(alone, tmp_path / "back", **OPTIONS)
    assert not (tmp_path / "back").exists()
    known = (tmp_path / "backups", tmp_path / "other", tmp_path / "kb" / "backups")
    for number, folder in enumerate(known):
        done = restore(alone, tmp_path / f"back{number}", tombstones=folder, **OPTIONS)
        assert done.records == 5
    torn = next((tmp_path / "backups").glob("tombstones-*.jsonl"))
    torn.write_text("nothing\n")
    with pytest.raises(StoreCorrupt, match="can't be read"):
        restore(backup, tmp_path / "back", **OPTIONS)


def test_a_changed_backup_is_refused_and_leaves_nothing(tmp_path):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "backups")
    data = bytearray(backup.read_bytes())
    at = data.index(b"the secret number 3")
    data[at] ^= 1
    bad = backup.with_name("bad.forgetnet.tar")
    bad.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="were changed"):
        restore(bad, tmp_path / "back", **OPTIONS)
    said = len(data.rstrip(b"\0"))  # an archive ends with up to 10 KB of zeros
    for cut in (0, 100, said // 2, said - 9):
        bad.write_bytes(backup.read_bytes()[:cut])
        with pytest.raises(StoreCorrupt):
            restore(bad, tmp_path / "back", **OPTIONS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "kb"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_a_hostile_archive_writes_nowhere_else(tmp_path, name):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "backups")
    bad = backup.with_name("bad.forgetnet.tar")
    body = {"format": 1, "facts": {}, "files": {name: "0" * 64}}
    (tmp_path / "backup.json").write_text(json.dumps(body))
    with tarfile.open(bad, "w") as tar:
        tar.add(tmp_path / "backup.json", "backup.json")
    with pytest.raises(StoreCorrupt):
        restore(bad, tmp_path / "back", **OPTIONS)


@pytest.mark.parametrize(
    ("place", "says"), [("kb", "own folder"), ("kb/inner", "own folder"), ("file", "can't write")]
)
def test_a_place_that_makes_no_sense_is_refused(tmp_path, place, says):
    (tmp_path / "file").write_text("x")
    with filled(tmp_path / "kb") as memory:
        with pytest.raises(StoreError, match=says):
            memory.backup(tmp_path / place)
        with open_(tmp_path / "kb", readonly=True) as reader, pytest.raises(StoreError):
            reader.backup(tmp_path / "backups")
    with open_("memory://") as memory, pytest.raises(StoreError, match="export it instead"):
        memory.backup(tmp_path / "backups")
    with pytest.raises(StoreCorrupt, match="not a whole backup"):
        restore(tmp_path / "file", tmp_path / "back")
    with pytest.raises(StoreCorrupt):
        restore(tmp_path / "nowhere", tmp_path / "back")


def test_an_old_folder_is_never_written_over(tmp_path):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "backups")
        with pytest.raises(StoreError, match="there already"):
            restore(backup, tmp_path / "kb", **OPTIONS)


def test_the_archive_says_nothing_of_the_machine_and_is_private(tmp_path):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "backups")
    assert backup.stat().st_mode & 0o077 == 0
    with tarfile.open(backup) as tar:
        for member in tar:
            assert (member.uname, member.gname, member.uid, member.mtime) == ("", "", 0, 0)
            assert member.isreg()
    assert read_archive(backup).facts["records"] == 6


@pytest.mark.parametrize("after", [False, True])
def test_a_restore_or_a_backup_that_is_cut_short_leaves_no_memory_and_loses_none(tmp_path, after):
    with filled(tmp_path / "kb") as memory:
        backup = memory.backup(tmp_path / "backups")
        memory.forget(ids="id-0")
        for at in range(1, 8):
            with contextlib.suppress(PowerCutError), failing(at, PowerCutError, after=after):
                memory.backup(tmp_path / f"other{at}")
    at = 0
    while True:
        at += 1
        try:
            with failing(at, PowerCutError, after=after) as calls:
                restore(backup, tmp_path / "back", **OPTIONS)
        except PowerCutError:
            if (tmp_path / "back").exists():
                with open_(tmp_path / "back") as back:
                    assert back.get("id-0") is None
                shutil.rmtree(tmp_path / "back")
            continue
        assert len(calls) < at
        break
    with open_(tmp_path / "back") as back:
        assert back.count() == 5


def test_a_model_comes_back_with_its_experts_and_without_what_was_forgotten(tmp_path):
    texts = [f"{word} number {n}" for n in range(8) for word in ("tea", "coffee")]
    labels, people = [t.split()[0] for t in texts], [f"p{n % 4}" for n in range(16)]
    ids = [f"id-{n}" for n in range(16)]
    with ForgetNet.open(tmp_path / "net", **OPTIONS, progress=False) as net:
        net.fit(texts, labels, subjects=people, ids=ids)
        backup = net.backup(tmp_path / "backups")
        net.forget(subject="p1")
        wanted = net.digest()
    done = restore(backup, tmp_path / "back", **OPTIONS, progress=False)
    assert done.receipt.status == "erased"
    with ForgetNet.load(tmp_path / "back", **OPTIONS, progress=False) as back:
        assert back.digest() == wanted


VERBS = ["add", "add", "forget", "forget", "backup", "delete", "reopen", "purge"]


def history(folder: Path, seed: int, steps: int) -> None:
    """Live a random life with backups, then restore each of some and compare with what went."""
    draw = random.Random(seed)
    places = [folder / "p0", folder / "p1"]
    live, gone, made = {}, set(), []
    memory = open_(folder / "kb")
    for step in range(steps):
        verb = draw.choice(VERBS)
        if verb == "add":
            some = [f"r{seed}-{step}-{n}" for n in range(draw.randint(1, 4))]
            memory.add([f"text of {i}" for i in some], ids=some, subject=f"s{draw.randint(0, 3)}")
            live |= dict.fromkeys(some)
        elif verb in ("forget", "delete") and live:
            some = draw.sample(sorted(live), min(len(live), draw.randint(1, 3)))
            if verb == "forget":
                assert memory.forget(ids=some).status == "erased"
                gone |= set(some)
            else:
                memory.delete(some)
            live = {i: None for i in live if i not in some}
        elif verb == "backup":
            made.append((memory.backup(draw.choice(places)), set(live)))
        elif verb == "reopen":
            memory.close()
            memory = open_(folder / "kb")
        elif verb == "purge":
            memory.purge()
    memory.close()
    for number, (backup, then) in enumerate(draw.sample(made, min(len(made), 1))):
        restore(backup, folder / f"back{number}", **OPTIONS)
        with open_(folder / f"back{number}") as back:
            assert {r.id for r in back.get_all()} == then - gone
        for i in sorted(then & gone):
            assert holding(folder / f"back{number}", f"text of {i}") == []


@pytest.mark.parametrize("seed", range(12))
def test_no_backup_of_a_random_life_brings_anything_back(tmp_path, seed):
    history(tmp_path, seed, 14)


@pytest.mark.slow
def test_no_backup_of_many_random_lives_brings_anything_back(tmp_path):
    for seed in range(1000, 1040):
        history(tmp_path / str(seed), seed, 20)
        shutil.rmtree(tmp_path / str(seed))


@pytest.mark.parametrize("part", ["store", "store/pieces", "receipts"])
def test_a_folder_in_parts_is_backed_up_whole_or_not_at_all(tmp_path, part):
    with filled(tmp_path / "kb") as memory:
        memory.forget(ids="id-0")
    (tmp_path / "kb" / part).rename(tmp_path / "elsewhere")
    (tmp_path / "kb" / part).symlink_to(tmp_path / "elsewhere")
    with open_(tmp_path / "kb") as memory:
        with pytest.raises(StoreError, match="symbolic link"):
            memory.backup(tmp_path / "p")
        assert not list((tmp_path / "p").glob("*.tar"))
        (tmp_path / "kb" / "stray").symlink_to(tmp_path)  # none of the memory's
    (tmp_path / "kb" / part).unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "kb" / part)
    with open_(tmp_path / "kb") as memory:
        wanted = memory.digest()
        backup = memory.backup(tmp_path / "p")
    restore(backup, tmp_path / "back", **OPTIONS)
    with open_(tmp_path / "back") as back:
        assert back.digest() == wanted


def test_a_key_that_lies_elsewhere_is_in_no_backup(tmp_path):
    with Memory.open(tmp_path / "kb", encoder="hash:32") as memory:
        memory.add("the secret number", ids=["id-0"])
    (tmp_path / "kb" / "key").rename(tmp_path / "key")
    (tmp_path / "kb" / "key").symlink_to(tmp_path / "key")
    with Memory.open(tmp_path / "kb", encoder="hash:32") as memory:
        backup = memory.backup(tmp_path / "p")
    assert (tmp_path / "key").read_bytes().strip() not in backup.read_bytes()
    assert restore(backup, tmp_path / "back", encoder="hash:32", key=tmp_path / "key").records == 1
