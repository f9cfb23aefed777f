"""The benchmarks run, and what they call equal or gone they would see otherwise."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parents[1] / "benchmarks"
SAID = (
    ("Ida", "The kiln is free on Monday, shall we fire the blue bowls then?"),
    ("Per", "Monday is my day at the harbour; Tuesday after lunch would do."),
    ("Ida", "Tuesday then. I bring the glaze and you bring the sandwiches."),
    ("Per", "Rye bread, pickled beets, and no onions for you, I remember."),
)


def talk(name: str) -> dict[str, object]:
    turns = [
        {"speaker": speaker, "dia_id": f"D{session}:{turn}", "text": f"{name} {session}. {text}"}
        for session in (1, 2, 3)
        for turn, (speaker, text) in enumerate(SAID, 1)
    ]
    talked: dict[str, object] = {"speaker_a": "Ida", "speaker_b": "Per"}
    for session in (1, 2, 3):
        talked[f"session_{session}"] = turns[4 * session - 4 : 4 * session]
        talked[f"session_{session}_date_time"] = f"1:56 pm on {session} May, 2024"
    asked = [
        {"question": "When is the kiln free?", "evidence": ["D1:1; D2:1"], "category": 1},
        {"question": "Who brings rye bread?", "evidence": ["D:1:4", "D2:04", "D"], "category": 4},
        {"question": "What is nobody's?", "evidence": [], "category": 5},
    ]
    return {"sample_id": name, "conversation": talked, "qa": asked}


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "talks.json"
    path.write_text(json.dumps([talk("talk-1"), talk("talk-2")]))
    return path


def test_long_conversations_hold_on_small_ones(file, tmp_path):
    page = tmp_path / "page.md"
    command = [sys.executable, HERE / "locomo.py", file, "--encoder", "hash:64"]
    done = subprocess.run(
        [*command, "--markdown", page], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fails" not in done.stdout
    assert done.stdout.count("| holds |") == 11
    assert "text 6 of 6" in done.stdout  # the control: Ida's turns of one talk
    assert "text 0 of 6" in done.stdout
    assert done.stdout.strip() in page.read_text()


def test_evidence_is_normalised(module, file):
    turns, questions = module("conversations").load(file)
    assert len(turns) == 24
    assert [question.evidence for question in questions[:3]] == [
        ("talk-1/D1:1", "talk-1/D2:1"),
        ("talk-1/D1:4", "talk-1/D2:4"),
        (),
    ]


def test_what_a_delete_leaves_is_seen(module, tmp_path):
    material = module("material").material(1000)
    peers, left = module("peers"), module("leftovers").left
    table = peers.Lance(tmp_path)
    table.add(peers.arrow(material))
    some = material.part(0, 20)
    assert len(left(tmp_path, some).texts) == len(left(tmp_path, some).vectors) == 20
    table.forget(material.subjects[0])  # hides rows that stay in the file
    assert len(left(tmp_path, some).texts) == len(left(tmp_path, some).vectors) == 20
    strangers = module("material").material(20, seed=8)
    assert not left(tmp_path, strangers).texts
    assert not left(tmp_path, strangers).vectors


def test_a_page_keeps_what_stands_around_a_table(module, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Mine\n\n<!-- one: begin -->\nold\n<!-- one: end -->\n\nafter\n")
    put = module("page").put
    put(page, "one", "new")
    put(page, "two", "more")
    assert page.read_text() == (
        "# Mine\n\n<!-- one: begin -->\nnew\n<!-- one: end -->\n\nafter\n"
        "<!-- two: begin -->\nmore\n<!-- two: end -->\n"
    )


def test_engines_take_turns(module):
    order: list[str] = []
    actions = [lambda i: order.append(f"a{i}"), lambda i: order.append(f"b{i}")]
    times = module("timing").in_turn(actions, 2)
    assert order == ["b0", "a0", "a0", "b0", "b1", "a1"]
    assert [len(taken) for taken in times] == [2, 2]


def test_what_keys_by_subject_cost_is_measured_beside_a_plain_memory(module, tmp_path):
    rows = module("encryption").measure(tmp_path, 300)
    told = ["add, a row", "open, a row", "search", "forget a subject of 50", "size on disk"]
    assert [row[0] for row in rows] == told
    assert all(float(ratio) > 0 for *_, ratio in rows)
    assert float(rows[-1][-1]) > 1.0  # a seal takes room
