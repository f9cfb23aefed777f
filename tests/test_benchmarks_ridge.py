"""The parts that measure the additive experts run, and measure what they say."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def parts(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("experts_ridge")


def test_the_calibration_error_is_the_gap_of_certainty_and_truth(parts: ModuleType) -> None:
    sure = np.array([[0.9, 0.1]] * 10)
    truth = np.array([0] * 7 + [1] * 3)
    assert parts.calibration_error(sure, truth) == pytest.approx(0.2)
    assert parts.calibration_error(sure, np.array([0] * 9 + [1])) == pytest.approx(0.0)


def test_forgetting_is_measured_on_equal_states(parts: ModuleType, monkeypatch) -> None:
    monkeypatch.setattr(parts, "TRAINED", 300)
    monkeypatch.setattr(parts, "MLP", {"hidden": 8, "epochs": 1, "min_steps": 5})
    rows = list(parts.forgetting(parts.digits(), rounds=1))
    assert [row.what.rpartition(": ")[2].split(";")[0] for row in rows[:2]] == [
        "subtract 10 records",
        "forget a subject exactly",
    ]
    assert rows[-1].ok
    assert rows[-1].what.startswith("digits, 300 records")


def test_a_stream_is_summed_whole(parts: ModuleType, monkeypatch) -> None:
    monkeypatch.setattr(parts, "_CHUNK", 64)
    rows = list(parts.growth([64, 150], dim=8, classes=3))
    assert len(rows) == 4
    chunks = [parts._stream(a, b, 8, 3) for a, b in ((0, 64), (64, 128), (128, 150))]
    assert len({i for chunk in chunks for i in chunk.ids}) == 150
