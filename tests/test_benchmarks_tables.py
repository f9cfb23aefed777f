"""The benchmark of tables reads Adult as it is published, and fails where we fall short."""

from __future__ import annotations

import gzip
import importlib
import random
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def tables(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("experts_tables")


@pytest.fixture
def adult(tmp_path) -> Path:
    draw = random.Random(0)
    for name, dot, first in (("adult.data.gz", "", ""), ("adult.test.gz", ".", "|1x3 Cross\n")):
        lines = []
        for _ in range(120):
            rich = draw.random() < 0.5
            lines.append(
                f"{draw.randint(40, 60) if rich else draw.randint(17, 35)}, ?, 77516, Bachelors, "
                f"13, Never-married, {'Sales' if rich else 'Craft'}, Husband, White, Male, "
                f"{2174 * rich}, 0, 40, Cuba, {'>50K' if rich else '<=50K'}{dot}\n"
            )
        text = first + "".join(lines) + "\n"
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    return tmp_path


def test_adult_is_read_and_every_model_learns_it(tables: ModuleType, adult: Path) -> None:
    split = tables.adult(adult)
    assert split.name == "Adult, 120 and 120 rows"
    columns, labels = split.test
    assert set(labels) == {">50K", "<=50K"}
    assert columns["workclass"] == ["?"] * 120
    assert set(columns["capital-gain"]) == {0.0, 2174.0}
    rows = list(tables.large(split, leaves=False))
    assert len(rows) == 6
    assert all(float(row[2]) > 95 for row in rows)


def test_it_fails_where_the_default_falls_short(tables, adult, monkeypatch) -> None:
    monkeypatch.setattr(tables, "_LEAST", -101.0)
    with pytest.raises(SystemExit, match="below logistic regression"):
        list(tables.large(tables.adult(adult), leaves=False))
