"""The look through a memory at rest: it finds what is there, and says what it can't know."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgetnet import InvalidScope, Memory, Unsupported

KEY = bytes(range(32))
TEXT = "the grey whale passes the cape in April"


def open_(path: str | Path, **more: object) -> Memory:
    return Memory.open(path, encoder="hash:32", key=KEY, **more)


@pytest.fixture
def kb(tmp_path: Path) -> Path:
    with open_(tmp_path / "kb") as memory:
        memory.add([TEXT, "nothing else is known"], ids=["whale-record-1", "other"], subject="ann")
        memory.add("bob is a neighbour", ids=["bob-record-1"], subject="bob")
    return tmp_path / "kb"


def test_what_is_live_is_explained_and_what_was_only_deleted_is_found(kb):
    with open_(kb) as memory:
        found = memory.residue(texts=TEXT)
        assert found.clean
        assert found.explained
        assert found.files > 3
        memory.delete("whale-record-1")
        found = memory.residue(ids="whale-record-1", texts=[TEXT])
        assert not found.clean
        assert set(found.found) == {"id", "text", "vector"}
        assert found.unpurged
        memory.purge()
        found = memory.residue(ids="whale-record-1", texts=[TEXT])
        assert (found.clean, found.found, found.unpurged) == (True, {}, 0)


def test_after_a_forget_nothing_is_found_by_name_text_or_vector(kb):
    with open_(kb) as memory:
        memory.restrict(subject="bob")
        assert not memory.residue(ids="whale-record-1").clean  # an id is never explained
        assert memory.residue(subjects="ann").clean
        memory.forget(subject="ann")
        found = memory.residue(ids=["whale-record-1"], subjects=["ann"], texts=[TEXT])
        assert (found.clean, found.reasons) == (True, ())


def test_a_note_that_somebody_left_makes_it_say_so(kb):
    (kb / "notes.txt").write_text(TEXT)
    with open_(kb, readonly=True) as memory:
        found = memory.residue()
        assert any("notes.txt" in reason for reason in found.reasons)


def test_a_changed_byte_and_a_blind_look_are_told(kb, monkeypatch):
    from forgetnet.audit import residue

    with open_(kb, readonly=True) as memory:
        with monkeypatch.context() as patch:
            patch.setattr(residue.Findings, "complete", lambda *_: False)
            assert any("blind" in reason for reason in memory.residue().reasons)
        piece = next((kb / "store").rglob("*.tail"))
        data = bytearray(piece.read_bytes())
        data[len(data) // 2] ^= 255
        piece.write_bytes(data)
        assert not memory.residue().clean


def test_a_memory_without_files_and_a_wrong_argument_are_refused(kb):
    with open_("memory://") as memory, pytest.raises(Unsupported, match="no files"):
        memory.residue()
    with open_(kb) as memory, pytest.raises(InvalidScope):
        memory.residue(texts=3)
