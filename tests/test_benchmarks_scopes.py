"""The benchmark of scopes reads its sets, counts what is missed, and asks as a memory does."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "benchmarks"
INTENTS = [f"{a}_{b}" for a in ("red", "blue", "old", "new") for b in "abcdefghij"]


@pytest.fixture
def module(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(HERE))
    for name in ("scopes", "scopes_data"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("scopes")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty intents in four domains, each with a few words of its own."""
    folder = tmp_path / "clinc150"
    folder.mkdir()
    for name, count in (("train", 22), ("val", 3)):
        rows = [
            {"text": f"{intent} {intent[::-1]} {i}", "intent": intent, "domain": intent[:3]}
            for intent in INTENTS
            for i in range(count)
        ]
        lines = "\n".join(map(json.dumps, rows)).encode()
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines))
    return tmp_path


def test_every_question_is_asked_and_the_answers_are_those_of_a_store(module, data, capsys):
    options = [str(data), "--encoder", "hash:32", "--sets", "clinc150", "--splits", "2"]
    kept = data / "vectors.npz"
    page = data / "page.md"
    more = ["--concepts", "2", "--cache", str(kept), "--markdown", str(page)]
    module.main([*options, *more])
    shown = capsys.readouterr().out
    for question in module.QUESTIONS["clinc150"]:
        assert f"| {question.shown} (by " in shown
    assert "kNN links alone | none |" in shown and "cosine of its name alone" in shown
    assert "is taken to mean: " in shown
    assert shown.strip() in page.read_text()
    assert len(np.load(kept).files) >= 3  # both parts, and the names


def test_a_recall_below_its_promise_is_told(module):
    tally = module.Tally(splits=[[]])
    chosen, true = np.array([True, True, False, False]), np.array([True, False, True, False])
    tally.add(chosen, true)
    assert (tally.recall, tally.returned, tally.true, tally.right) == (0.5, 2, 2, 1)
    assert tally.row("it", 0.9)[-1] == "**no**" and tally.row("it", 0.51)[-1] == "yes"
    tally.add(np.zeros(4, bool), true)
    assert tally.recall == 0.25 and tally.precisions == [0.5, 1.0]


def test_a_split_asks_only_for_what_its_question_says(module):
    topics = [f"{intent[:3]}/{intent}" for intent in INTENTS for _ in range(22)]
    some = module.Data(topics, topics, {})
    new = module.Question("", 20, known=False, marked=5)
    for seed in range(5):
        split = module.draw(some, new, seed, 4)
        taught = {topics[i] for i in split.taught}
        assert len(split.taught) == 20 * 20 and not taught & set(split.asked)
        assert all(topics[i] == topic for topic, at in split.marked.items() for i in at)
        apart = module.draw(some, module.Question("", 20, known=False, apart=True), seed, 4)
        domains = {topics[i][:3] for i in apart.taught}
        assert len(domains) == 3 and not {topic[:3] for topic in apart.asked} & domains
