"""The comparison of searches reads what people judged, and sees an answer that remembers."""

from __future__ import annotations

import gzip
import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parents[1] / "benchmarks"
TEXTS = ["a red kayak", "a blue kayak", "tea at four", "four red bowls", ""]


@pytest.fixture
def module(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.delitem(sys.modules, "words", raising=False)
    return importlib.import_module("words")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "medline"
    folder.mkdir()
    rows = [{"id": str(i), "title": "kayak" * (i == 2), "text": t} for i, t in enumerate(TEXTS)]
    lines = "\n".join(map(json.dumps, rows)).encode()
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(lines))
    asked = [{"id": "1", "text": "kayak"}, {"id": "2", "text": "four"}, {"id": "3", "text": "x"}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, asked)))
    judged = ["query\tdoc\tcode", "1\t0\t1", "1\t1\t2", "1\t2\t-1", "2\t2\t1", "2\t99\t1"]
    (folder / "qrels.tsv").write_text("\n".join(judged))
    return tmp_path


def test_a_set_is_read_as_it_was_judged(module, data):
    judged = module.read("medline", data / "medline")
    assert [r.text for r in judged.records] == [*TEXTS[:2], "kayak tea at four", TEXTS[3]]
    assert judged.queries == ["kayak", "four"]
    assert judged.relevant == [{"0", "1"}, {"2"}]


def test_rankings_are_rated_by_the_formulas(module):
    wanted = frozenset("ab")
    assert module.ndcg(["a", "b"], wanted) == module.ndcg(["b", "a", "c"], wanted) == 1.0
    assert module.ndcg(["c", "a"], wanted) == pytest.approx(
        (1 / math.log2(3)) / (1 + 1 / math.log2(3))
    )
    assert module.ndcg([], wanted) == module.recall(["c"], wanted) == 0.0
    assert module.recall(["c", "a"], wanted) == 0.5


def test_every_mode_is_measured_and_held_to_its_twin(module, data, capsys):
    options = [str(data), "--encoder", "hash:32", "--sets", "medline", "--rows", "500"]
    assert module.main([*options, "--markdown", str(data / "page.md")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("medline, 4 records, 2 queries") == shown.count(" yes |") == 3
    assert "| 500 |" in shown
    page = (data / "page.md").read_text()
    assert all(line in page for line in shown.splitlines() if line.startswith("|"))


def test_an_answer_that_remembers_is_seen(module, data, monkeypatch, capsys):
    real = module.made
    left = iter([0, 1])  # records that the whole memory, and then its twin, never get

    monkeypatch.setattr(module, "made", lambda e, records: real(e, records[next(left) :]))
    options = [str(data), "--encoder", "hash:32", "--sets", "medline", "--rows"]
    assert module.main(options) == 1
    assert "| **no** |" in capsys.readouterr().out
