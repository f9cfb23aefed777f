"""Marks as files: what a failing disk leaves of them, what they are called, and who still sees."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from forgetnet import InvalidRecord, Memory, Record, StoreError
from forgetnet.forget.marks import Kind, Mark, Marks
from forgetnet.model import ForgetNet
from tests.faults.cuts import PowerCutError, failing
from tests.forget.test_keeping import KEY, filled, holding, open_


def broken_disk() -> OSError:
    return OSError(5, "Input/output error")


def refused(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def cut(*_: object, **__: object) -> None:
    raise PowerCutError


def model(path: Path) -> ForgetNet:
    net = ForgetNet.open(path, encoder="hash:32", key=KEY, progress=False)
    texts = [f"{word} number {n}" for n in range(6) for word in ("tea", "coffee")]
    return net.fit(texts, [t.split()[0] for t in texts], ids=[f"r{n}" for n in range(12)])


def test_a_lift_in_a_folder_that_cant_be_written_leaves_the_hold_whole(tmp_path, monkeypatch):
    with filled(tmp_path / "kb") as memory:
        hold = memory.hold(ids="a2", reason="case 1")
        with monkeypatch.context() as patch:
            for verb in ("unlink", "rename", "replace"):
                patch.setattr(Path, verb, refused)
            with pytest.raises(StoreError, match="still stands"):
                memory.lift(hold.name)
        assert memory.holds() == [hold]
    with open_(tmp_path / "kb") as memory:
        assert memory.holds() == [hold]


def test_a_mark_that_could_not_be_written_is_none(tmp_path):
    for at in range(1, 9):
        with filled(tmp_path / f"kb{at}") as memory:
            told = ""
            try:
                with failing(at, broken_disk, after=False, once=True):
                    memory.restrict(ids="a2")
            except StoreError as why:
                told = str(why)
            if not told:
                break
            assert "nothing was marked" in told
            assert memory.restrictions() == []
    assert at > 2


def test_a_restriction_keeps_its_name_when_some_of_its_records_go(tmp_path):
    with filled(tmp_path / "kb") as memory, open_(tmp_path / "kb", readonly=True) as reader:
        mark = memory.restrict(ids=["a1", "b2"])
        assert len(reader.search("ann", k=9)) == 3
        memory.forget(ids="a1")
        assert [(m.name, m.ids) for m in memory.restrictions()] == [(mark.name, ("b2",))]
        memory.add("ann sails again", ids=["a1"])
        assert "a1" in {hit.id for hit in reader.search("ann sails", k=9)}
        memory.lift(mark.name)
        assert list((tmp_path / "kb" / "marks").iterdir()) == []


def test_what_is_deleted_is_on_no_mark_and_its_id_is_free(tmp_path):
    with open_(tmp_path / "kb") as memory:
        memory.add([Record("some words", id="a-long-identifier", subject="a-long-subject")])
        memory.restrict(ids="a-long-identifier")
        memory.restrict(subject="a-long-subject")
        memory.delete("a-long-identifier")
        memory.purge()
        assert memory.restrictions() == []
        assert memory.residue(ids="a-long-identifier", subjects="a-long-subject").clean
        memory.add("other words", ids=["a-long-identifier"])
        assert [hit.id for hit in memory.search("other")] == ["a-long-identifier"]


def test_a_lift_that_nothing_could_follow_is_refused_and_one_cut_short_is_finished(
    tmp_path, monkeypatch
):
    note = tmp_path / "kb" / "notes.txt"
    with filled(tmp_path / "kb") as memory:
        hold = memory.hold(ids="a2", reason="case 1")
        memory.forget(subject="ann")
        note.write_text("left here")
        with pytest.raises(StoreError, match="are not the memory's"):
            memory.lift(hold.name)
        assert memory.holds() == [hold]
        with monkeypatch.context() as patch:
            patch.setattr("forgetnet.forget.keeping.check_folder", lambda _: None)
            with pytest.raises(StoreError, match="are not the memory's"):
                memory.lift(hold.name)
        note.unlink()
        memory.purge()  # any change finishes what is owed
        assert memory.get("a2") is None
    assert holding(tmp_path / "kb", b"harbour") == []


def test_what_isnt_ours_among_the_marks_is_left_alone_and_told(tmp_path):
    with filled(tmp_path / "kb") as memory:
        memory.restrict(ids="a1")
    marks = tmp_path / "kb" / "marks"
    (marks / "folder").mkdir()
    (marks / "link").symlink_to("/nowhere")
    (marks / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    with open_(tmp_path / "kb") as memory:
        assert len(memory.restrictions()) == 1
        told = " ".join(memory.residue().reasons)
        for name in ("folder", "link", ".DS_Store"):
            assert f"marks/{name}" in told


def test_a_plan_tells_no_restricted_record_among_those_nearby(tmp_path):
    with open_(tmp_path / "kb") as memory:
        memory.add(["the same words here"] * 3, ids=["x1", "x2", "x3"])
        memory.restrict(ids="x2")
        assert memory.forget(ids="x1", dry_run=True).near == ("x3",)


def test_a_models_memory_answers_without_what_is_restricted_or_owed(tmp_path):
    def near(net: ForgetNet, text: str) -> set[str]:
        return {i for i, _, _ in net.explain(text).neighbours}

    with model(tmp_path / "net") as net:
        assert {"r0", "r2"} <= near(net, "tea number 0") | near(net, "tea number 1")
        mark = net.restrict(ids="r0")
        hold = net.hold(ids="r2", reason="case 1")
        net.forget(ids="r2")
        assert not {"r0", "r2"} & (near(net, "tea number 0") | near(net, "tea number 1"))
        net.save(tmp_path / "copy")
        net.lift(mark.name)
        assert "r0" in near(net, "tea number 0")
    with ForgetNet.open(tmp_path / "copy", encoder="hash:32", key=KEY, progress=False) as copy:
        assert [m.name for m in copy.holds()] == [hold.name]
        assert not {"r0", "r2"} & {hit.id for hit in copy.memory.search("tea", k=12)}
        copy.lift(hold.name)
        assert copy.memory.get("r2") is None


def test_a_forgotten_text_comes_by_no_update_and_no_import_in_part(tmp_path):
    names = [f"r{n}" for n in range(600)]
    with open_(tmp_path / "kb", suppress="refuse") as memory:
        memory.add([f"text {n}" for n in range(600)], ids=names, progress=False)
        memory.export(tmp_path / "out.jsonl")
        (last,) = [
            i for i in names if f'"{i}"' in (tmp_path / "out.jsonl").read_text().splitlines()[-1]
        ]
        memory.forget(ids=last)
        memory.delete(names)
        with pytest.raises(InvalidRecord, match="forgotten before"):
            memory.import_(tmp_path / "out.jsonl")
        assert memory.count() == 0
        memory.add("something else", ids=["r"])
        with pytest.raises(InvalidRecord, match="forgotten before"):
            memory.update("r", f"Text  {last[1:]}")
        memory.update("r", "text that never was")


@pytest.mark.parametrize("text", ["ΐ said so", "ᾳ\u0301 word", "ﬁne ŉ", "ἈΊ", "Straße", "한글"])
def test_a_text_is_known_again_in_every_case_and_unicode_form(text):
    import unicodedata

    with open_("memory://", suppress="refuse") as memory:
        memory.add(text, ids=["first"])
        memory.forget(ids="first")
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            for change in (str, str.upper, str.casefold, str.title):
                with pytest.raises(InvalidRecord, match="forgotten before"):
                    memory.add(change(unicodedata.normalize(form, text)))


def test_a_model_of_a_memory_with_a_list_puts_on_it_what_it_deletes_first(tmp_path, monkeypatch):
    with open_(tmp_path / "kb", suppress="refuse") as memory:
        memory.add(["tea is hot", "coffee too"], ids=["r1", "r2"])
    given = {"encoder": "hash:32", "key": KEY, "progress": False, "adopt": True}
    net = ForgetNet.open(tmp_path / "kb", **given)
    with monkeypatch.context() as patch:
        patch.setattr("forgetnet.forget.backups.Backups.note", cut)
        with pytest.raises(PowerCutError):
            net.forget(ids="r1")
    net._parts.store._lock.release()
    again = pytest.raises(InvalidRecord, match="forgotten before")
    with ForgetNet.open(tmp_path / "kb", **given) as net, again:
        net.partial_fit(["Tea is hot"])


@pytest.mark.parametrize("gone", ["a", "ab"])
def test_a_release_that_a_full_disk_stopped_leaves_nothing_when_done_again(
    tmp_path, monkeypatch, gone
):
    text = "sixteen kinds of tea"
    real, at = os.fsync, 0
    with Memory.open("memory://", encoder="hash:16", key=KEY) as memory:
        while True:
            marks = Marks(tmp_path / f"{at}")
            mark = marks.put(Mark("ab" * 8, Kind.OWED, ("a", "b"), reason=text))
            step, calls = partial(marks.release, gone, memory._store), iter(range(99))

            def fsync(fd, calls=calls, at=at):
                if next(calls) == at:
                    raise OSError(28, "No space left on device")
                real(fd)

            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", fsync)
                try:
                    step()
                    break
                except OSError:
                    step()
            left = sorted(path.name for path in (tmp_path / f"{at}").iterdir())
            assert left == ([f"{mark.name}.json"] if gone == "a" else [])
            at += 1
    assert at >= 2
