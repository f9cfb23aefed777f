"""Real input streams in; what is broken is named by its line and never stops the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet import Memory, Record
from forgetnet.cli import import_command
from forgetnet.cli.import_command import Intake
from forgetnet.ingest import Fault

GOOD = {"text": "the ferry leaves at nine", "subject": "ann", "id": "g1"}
MORE = {"text": "the kiln is hot", "subject": "ben", "id": "g2"}


def bring(shell, path: Path, *words: str, code: int = 0):
    return shell.json("import", str(path), "--encoder", "hash:64", *words, code=code)


def test_a_broken_line_is_reported_with_its_number_and_the_rest_goes_in(shell, lines) -> None:
    path = lines(GOOD, '{"text": "a private wo', "", MORE)
    told = bring(shell, path, code=1)
    assert (told["imported"], told["refused"], told["bytes"]) == (2, 1, path.stat().st_size)
    assert [fault["line"] for fault in told["faults"]] == [2]
    assert shell.json("stats")["records"] == 2
    again = shell.on_store("import", str(path), code=1)
    assert "line 2" in again.stderr
    assert "private" not in again.output + json.dumps(told)


def test_a_clean_file_is_exit_code_0_and_summed_up_in_one_line(shell, lines) -> None:
    said = shell.on_store("import", str(lines(GOOD, MORE)), "--encoder", "hash:64")
    assert said.stdout.startswith("Imported 2 records (") and said.stdout.count("\n") == 1
    assert said.stderr == ""


def test_what_is_there_already_is_refused_by_id_and_nothing_is_doubled(shell, lines) -> None:
    bring(shell, lines(GOOD, MORE))
    told = bring(shell, lines(GOOD, {**MORE, "id": "g3"}, {**MORE, "id": "g3"}), code=1)
    assert (told["imported"], told["refused"]) == (1, 2)
    assert [fault["id"] for fault in told["faults"]] == ["g1", "g3"]
    assert shell.json("stats")["records"] == 3


def test_only_the_first_refusals_are_told_one_by_one(shell, lines) -> None:
    path = lines(GOOD, *["{broken"] * 50)
    told = bring(shell, path, code=1)
    assert (told["refused"], len(told["faults"])) == (50, 20)
    said = shell.on_store("import", str(path), code=1).stderr
    assert said.count("\n") == 21 and "31 more" in said  # with the id that is taken by now


def test_fields_can_be_named_and_defaults_given(shell, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("what;who;where;rest\nTea is ready;ann;kitchen;x\nFog;;;y\n".replace(";", ","))
    words = ["--text-field", "what", "--subject-field", "who", "--topic-field", "where"]
    bring(shell, path, *words, "--subject", "nobody", "--topic", "else", "--metadata-field", "rest")
    with Memory.open(shell.store, readonly=True) as memory:
        rows = [(r.text, r.subject, r.topic, dict(r.metadata)) for r in memory.get_all()]
    assert sorted(rows) == [
        ("Fog", "nobody", "else", {"rest": "y"}),
        ("Tea is ready", "ann", "kitchen", {"rest": "x"}),
    ]


def test_a_folder_of_notes_is_split_as_asked(shell, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "one.md").write_text("# A\n\nfirst\n\n# B\n\nsecond\n", encoding="utf-8")
    (notes / "two.txt").write_text("third\n", encoding="utf-8")
    assert bring(shell, notes, "--split", "heading", "--subject", "ann")["imported"] == 3


def test_a_field_that_is_not_there_is_one_clear_error(shell, lines) -> None:
    told = bring(shell, lines(GOOD), "--text-field", "body", code=1)
    assert told["error"] == "InvalidRecord" and "body" in told["message"]


def test_an_export_that_was_cut_short_is_refused_by_its_line(peopled, tmp_path: Path) -> None:
    out = tmp_path / "all.jsonl"
    peopled.json("export", str(out))
    out.write_bytes(out.read_bytes()[:-40])
    words = ["import", str(out), "--store", str(tmp_path / "other"), "--encoder", "hash:64"]
    told = json.loads(peopled(*words, "--batch-size", "2", "--json", code=1).stdout)
    assert told["error"] == "InvalidRecord" and "line 6" in told["message"]
    assert not (tmp_path / "other").exists()
    peopled.json("import", str(out), code=1)
    assert peopled.json("stats")["records"] == 5


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.jsonl", None, ()),
        ("broken.jsonl", "{broken\n" * 30, ()),
        ("what.bin", "\0\1\2", ()),
        ("rows.csv", "a,b\n1,2\n", ()),
        ("named.jsonl", '{"text": "x"}\n', ("--text-field", "body")),
        ("format.jsonl", '{"text": "x"}\n', ("--format", "magic")),
        ("code.jsonl", '{"text": "x"}\n', ("--encoding", "magic")),
        ("encoder.jsonl", '{"text": "x"}\n', ("--encoder", "hash:x")),
        ("key.jsonl", '{"text": "x"}\n', ("--key", "nowhere")),
        ("export.jsonl", '{"forgetnet": 1, "records": 2}\n', ()),
    ],
)
def test_an_import_of_nothing_makes_no_memory(shell, tmp_path, name, content, words) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    told = shell.json("import", str(path), "--encoder", "hash:64", *words, code=1)
    assert told.get("error") or told["refused"] == 30
    assert not shell.store.exists()


ITEM = st.sampled_from(["good", "fault", "empty", "taken", "twice"])


@given(st.lists(ITEM, max_size=40), st.integers(1, 9))
def test_exactly_the_bad_ones_are_refused_wherever_they_stand(kinds: list[str], size: int) -> None:
    """Bad in four ways: unread, unstorable, stored before, and twice in one file."""
    said: list[str] = []
    with Memory.open("memory://", encoder="hash:16") as memory:
        memory.add("old", ids="taken")
        items: list[Record | Fault] = []
        for place, kind in enumerate(kinds):
            items.append(
                {
                    "good": Record(text=f"text {place}", id=f"r{place}"),
                    "fault": Fault(place, "broken"),
                    "empty": Record(text="x", id=f"r{place}", topic="a//b"),
                    "taken": Record(text="new", id="taken"),
                    "twice": Record(text="x", id="twice"),
                }[kind]
            )
        intake = Intake(size, {}, said.append)
        intake.pour(memory, items)
        good = kinds.count("good") + ("twice" in kinds)
        assert (intake.imported, intake.refused) == (good, len(kinds) - good)
        assert memory.count() == 1 + good
        assert memory.get("taken").text == "old"
        assert len(intake.faults) == len(said) == min(20, intake.refused)


def test_one_batch_is_held_at_a_time_and_long_texts_make_it_shorter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(import_command, "_CHARS", 1000)
    waiting: list[int] = []

    def source(text: str):
        before = memory.count()
        for number in range(1, 101):
            yield Record(text=text)
            waiting.append(number - (memory.count() - before))

    with Memory.open("memory://", encoder="hash:16") as memory:
        intake = Intake(8, {}, waiting.append)
        intake.pour(memory, source("short"))
        assert max(waiting) == 7
        waiting.clear()
        intake.pour(memory, source("long " * 60))
        assert max(waiting) == 3
        assert (intake.imported, intake.refused) == (200, 0)
