"""What the benchmark of many vectors reads and counts."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def test_texts_are_read_once_each_from_both_formats(tmp_path: Path) -> None:
    from scale import texts

    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.csv").write_text("text,kind\none,x\ntwo,y\n")
    lines = [{"text": "two"}, {"text": "three"}, {"text": 3}, {"other": "four"}]
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, lines)))
    (tmp_path / "c.txt").write_text("five")
    assert sorted(texts(tmp_path)) == ["one", "three", "two"]
    assert texts(tmp_path) == texts(tmp_path)


def test_our_twin_in_the_benchmark_lacks_what_was_forgotten() -> None:
    from scale import Case, Ours, made_up, recall

    case = made_up(2_000)
    assert isinstance(case, Case)
    assert [len(group) for group in case.groups] == [50] * 20
    gone = case.groups[0]
    ours, twin = Ours(case, split=True), Ours(case, split=True, without=gone)
    before = [ours.search(vector) for vector in case.vectors[gone]]
    assert recall(before, [[row] for row in gone]) == pytest.approx(1 / 10)
    ours.forget(gone)
    after = [ours.search(vector) for vector in case.vectors[gone]]
    assert after == [twin.search(vector) for vector in case.vectors[gone]] != before
    assert not {row for answer in after for row in answer} & set(gone)
    assert ours.index.digest() == twin.index.digest()
    exact = np.argsort(-case.asked @ case.vectors.T, axis=1)[:, :10].tolist()
    assert 0.5 < recall([ours.search(query) for query in case.asked], exact) <= 1.0
