"""The list of what was forgotten: what it refuses, what it reports, and that it names nobody."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from forgetnet import (
    ForgetNet,
    InvalidRecord,
    Memory,
    NeighbourExpert,
    RidgeTrunk,
    StoreError,
)
from forgetnet.forget.hashlog import HashLog
from tests.faults.cuts import PowerCutError, failing

KEY = bytes(range(32))
TEXT = "Ann is allergic to Penicillin"


def open_(path: str | Path, **more: object) -> Memory:
    return Memory.open(path, encoder="hash:32", key=KEY, **more)


@pytest.fixture(params=["folder", "memory"])
def url(request, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else str(tmp_path / "kb")


def test_what_was_forgotten_is_not_taken_again_by_text_or_by_id(url):
    with open_(url, suppress="refuse") as memory:
        memory.add([TEXT, "the boat needs paint"], ids=["r1", "r2"])
        memory.add("deleted, not forgotten", ids=["r3"])
        assert memory.forget(ids="r1").status == "erased"
        memory.delete("r3")
        for text, name in ((TEXT, "new"), ("  ann is ALLERGIC to\npenicillin", "new"), ("x", "r1")):
            with pytest.raises(InvalidRecord, match="forgotten before") as refused:
                memory.add(["something fine", text], ids=["fine", name])
            assert "llergic" not in str(refused.value)
        assert memory.get("fine") is None
        memory.add("deleted, not forgotten", ids=["r3"])
        memory.add("ann is allergic to nuts", ids=["r4"])


def test_a_list_stays_on_until_it_is_turned_off_and_holds_no_word(tmp_path):
    path = tmp_path / "kb"
    with open_(path, suppress="refuse") as memory:
        memory.add(TEXT, ids=["record-1"], subject="ann")
        memory.forget(subject="ann")
    for file in path.rglob("*"):
        if file.is_file():
            assert b"enicillin" not in file.read_bytes()
            assert b"record-1" not in file.read_bytes()
    with open_(path) as memory:
        with pytest.raises(InvalidRecord):
            memory.add(TEXT)
        assert memory.residue(texts=TEXT, ids="record-1").clean
    with open_(path, suppress="off") as memory:
        memory.add(TEXT)
    assert not (path / "suppressed.jsonl").exists()
    with open_(path) as memory:
        memory.forget(filter={"text": TEXT})
        memory.add(TEXT)


def test_a_memory_without_a_list_takes_everything_as_its_twin_would(url):
    with open_(url) as memory:
        memory.add(TEXT, ids=["r1"])
        memory.forget(ids="r1")
        memory.add(TEXT, ids=["r1"])
        assert memory.count() == 1


def test_a_warning_names_ids_and_no_text(url, caplog):
    with open_(url, suppress="warn") as memory:
        memory.add(TEXT, ids=["r1"])
        memory.forget(ids="r1")
        with caplog.at_level(logging.WARNING, "forgetnet"):
            memory.add([TEXT, "fine"], ids=["r9", "r10"])
        assert "'r9'" in caplog.text
        assert "r10" not in caplog.text
        assert "llergic" not in caplog.text
        assert memory.count() == 2


def test_an_import_is_refused_as_a_whole(tmp_path):
    with open_(tmp_path / "kb", suppress="refuse") as memory:
        memory.add([TEXT, "the boat"], ids=["r1", "r2"])
        memory.export(tmp_path / "out.jsonl")
        memory.forget(ids=["r1", "r2"])
        with pytest.raises(InvalidRecord, match="forgotten before"):
            memory.import_(tmp_path / "out.jsonl")
        assert memory.count() == 0


@pytest.mark.parametrize("mode", ["yes", 3, True])
def test_a_mode_that_is_none_is_refused(mode):
    with pytest.raises(StoreError, match="suppress="):
        open_("memory://", suppress=mode)


@pytest.mark.parametrize("after", [False, True])
def test_whatever_is_cut_short_what_went_is_on_the_list(tmp_path, after):
    at = 0
    while True:
        at += 1
        path = tmp_path / f"kb{at}"
        memory = open_(path, suppress="refuse")
        memory.add([TEXT, "the boat"], ids=["r1", "r2"])
        try:
            with failing(at, PowerCutError, after=after) as calls:
                memory.forget(ids="r1")
        except PowerCutError:
            memory._store._lock.release()
        else:
            assert len(calls) < at
            break
        with open_(path) as memory:
            if memory.get("r1") is None:
                with pytest.raises(InvalidRecord):
                    memory.add(TEXT, ids=["r7"])
    assert at > 8


def test_a_model_has_a_list_too_and_so_has_its_copy(tmp_path):
    def model(path: Path, **more: object) -> ForgetNet:
        experts = [RidgeTrunk(features=16), NeighbourExpert(k=3)]
        return ForgetNet.open(
            path, encoder="hash:32", key=KEY, experts=experts, progress=False, **more
        )

    said = [f"{word} number {n}" for n in range(4) for word in ("tea", "coffee")]
    with model(tmp_path / "net", suppress="refuse") as net:
        net.fit([TEXT, *said], ["ill", *(text.split()[0] for text in said)])
        assert net.forget(filter={"text": TEXT}).status == "erased"
        net.save(tmp_path / "copy")
    for place in ("net", "copy"):
        with model(tmp_path / place) as net:
            with pytest.raises(InvalidRecord, match="forgotten before"):
                net.partial_fit([TEXT], ["ill"])
            assert net.memory.count() == len(said)
            assert "ill" not in net.classes_
            net.partial_fit(["tea for two"], ["tea"])
            assert net.forget(filter={"text": said[0]}).status == "erased"
    with pytest.raises(StoreError, match="suppress="):
        model(tmp_path / "net", suppress="maybe")
    with model(tmp_path / "net", suppress="off") as net:
        net.partial_fit([TEXT], ["ill"])


def test_a_batch_reads_the_list_once(tmp_path, monkeypatch):
    with open_(tmp_path / "kb", suppress="refuse") as memory:
        memory.add(TEXT, ids=["r1"])
        memory.forget(ids="r1")
        reads, real = [], HashLog.known
        monkeypatch.setattr(HashLog, "known", lambda self: reads.append(1) or real(self))
        memory.add([f"text {n}" for n in range(50)])
        assert len(reads) == 1
