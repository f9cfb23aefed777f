"""The ablation's scores are those of the formulas, nothing unseen is taught, and wrong is seen."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

HERE = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    for name in ("geometry_ablation", "geometry_tasks", "geometry_trees", "wordnet"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two kinds of ten groups of 35, and twelve intents of two domains."""
    folder = tmp_path_factory.mktemp("data")
    rows = [{"id": "0", "words": ["thing"], "hyper": [], "inst": [], "def": "all there is"}]
    for kind in range(2):
        rows.append(_noun(f"k{kind}", f"kind {kind}", "0"))
        for group in range(10):
            rows.append(_noun(f"g{kind}{group}", f"group {kind} {group}", f"k{kind}"))
            rows += [
                _noun(f"n{kind}{group}{n:02d}", f"noun {group} {n}", f"g{kind}{group}")
                for n in range(35)
            ]
    (folder / "wordnet").mkdir()
    lines = "\n".join(map(json.dumps, rows)).encode()
    (folder / "wordnet" / "oewn_nouns.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "clinc150").mkdir()
    asked = [
        {"text": f"please {n} intent {i}", "intent": f"intent_{i}", "domain": _domain(i)}
        for i in range(12)
        for n in range(4)
    ]
    packed = gzip.compress("\n".join(map(json.dumps, asked)).encode())
    for name in ("train", "val"):
        (folder / "clinc150" / f"{name}.jsonl.gz").write_bytes(packed)
    return folder


def _noun(id: str, word: str, above: str) -> dict[str, object]:
    return {"id": id, "words": [word], "hyper": [above], "inst": [], "def": f"what {word} is"}


def _domain(intent: int) -> str:
    return "banking" if intent < 4 else "travel"


def test_average_precision_is_that_of_the_formula(module) -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    right = np.array([[True, False, True, False], [True, False, False, False]])
    by_hand = np.mean([(1.0 + 2.0 / 3.0) / 2.0, 1.0 / 4.0])
    assert module("geometry_tasks").precision(scores, right) == pytest.approx(by_hand)


def test_nothing_that_is_asked_about_was_taught(module, data: Path) -> None:
    hierarchy = module("wordnet").nouns(data / "wordnet" / "oewn_nouns.jsonl.gz")
    parts = module("geometry_tasks").split(hierarchy, 0)
    taught = set(parts.taught.tolist())
    assert taught and not taught & {*parts.unseen.tolist(), *parts.held.tolist()}
    assert not taught & set(parts.branches.tolist())
    for held in parts.branches:
        assert not [x for x in taught if held in hierarchy.ancestors[x]]
    assert len(parts.unseen) and len(parts.held) and len(parts.concepts)


def test_the_ablation_runs_is_gone_on_with_and_drawn(module, data, tmp_path, monkeypatch) -> None:
    geometry, ablation = module("geometry"), module("geometry_ablation")
    monkeypatch.setattr(ablation, "DIMS", (3, 5))
    monkeypatch.setattr(ablation, "STEPS", 3)
    monkeypatch.setattr(module("geometry_trees"), "DIMS", (3, 5))
    monkeypatch.setattr(module("geometry_trees"), "STEPS", 3)
    monkeypatch.setattr(module("geometry_trees"), "CARNIVORES", "k1")
    monkeypatch.setattr(module("geometry_plot"), "DIMS", (3, 5))
    options = [str(data), "--seeds", "1", "--only", "ablation", "trees", "--encoder", "hash:32"]
    options += ["--keep", str(tmp_path), "--cache", str(tmp_path / "v.safetensors")]
    options += ["--markdown", str(tmp_path / "page.md"), "--picture", str(tmp_path / "p.svg")]
    assert geometry.main(options) == 0
    page = (tmp_path / "page.md").read_text()
    assert "| 3 | hyperbolic |" in page and "| 5 | hyperbolic |" in page
    assert "raw, int8" in page and "**" in page
    assert "<svg" in (tmp_path / "p.svg").read_text()
    kept = (tmp_path / "ablation.jsonl").read_bytes()
    assert geometry.main(options) == 0  # nothing is left to do
    assert (tmp_path / "ablation.jsonl").read_bytes() == kept


def test_a_missed_place_is_seen(module, monkeypatch) -> None:
    speed = module("geometry_speed")
    rows, right = speed.subtrees(2, fan=6)
    assert right and rows[-1].ours == "0"
    honest = speed.subtree_mask

    def misses_one(points, path, salt):
        mask = honest(points, path, salt)
        mask[np.flatnonzero(mask)[:1]] = False
        return mask

    monkeypatch.setattr(speed, "subtree_mask", misses_one)
    assert not speed.subtrees(2, fan=6)[1]
    assert speed.linking(200, 10, 1)[0].what.startswith("linking 200 records")


def test_a_ridge_head_that_keeps_a_record_is_seen(module, data, tmp_path, monkeypatch) -> None:
    from forgetnet.encode import HashEncoder
    from forgetnet.heads import RidgeHead

    ridge = module("geometry_ridge")
    monkeypatch.setattr(ridge, "PRIORS", (1.0,))
    rows, good = ridge.measured(data, HashEncoder(32), tmp_path / "v.safetensors")
    assert good and len(rows) == 4 and rows[-1][-1] == "equal bits"
    monkeypatch.setattr(RidgeHead, "expel", lambda self, state, view: state)
    assert not ridge.measured(data, HashEncoder(32), tmp_path / "v.safetensors")[1]
