"""Every record is drawn once, as what it is, one by one or counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forgetnet.atlas.chart import COLOURS
from forgetnet.atlas.marks import BAR, SINGLES, Records, has_bars, marks
from forgetnet.atlas.scene import Dots, Line, View

VIEW = View(300.0, 300.0, 250.0)


def some(many: int, *, tiny: float = 0.0, seed: int = 0) -> Records:
    """Records all over the disk; a share of them lie at the rim, under topics too small to see."""
    rng = np.random.default_rng(seed)
    small = rng.random(many) < tiny
    radius = np.where(small, 0.9999, 0.8 * np.sqrt(rng.random(many)))
    turn = 2.0 * np.pi * np.where(small, rng.random(many) ** 2, rng.random(many))
    return Records(
        radius * np.exp(1j * turn),
        rng.integers(0, COLOURS + 1, many).astype(np.uint8),
        rng.random(many) < 0.2,
        np.where(small, 0.5, rng.choice([4.0, 20.0], many)),
    )


@pytest.mark.parametrize("left_over", [False, True])
@pytest.mark.parametrize("many", [0, 1, 50, SINGLES])
def test_few_records_are_drawn_one_by_one(many: int, left_over: bool):
    records = some(many, tiny=0.3)
    found = list(marks(VIEW, records, left_over=left_over))
    assert all(isinstance(shape, Dots) for shape in found) and not has_bars(records)
    for i in range(COLOURS + 1):
        drawn = [tuple(p) for shape in found if shape.style == f"s{i}" for p in shape.points]
        stays = VIEW.all(records.place[~records.goes & (records.colour == i)])
        assert sorted(drawn) == sorted(map(tuple, stays))
    crossed = [tuple(p) for shape in found if shape.style == "cross" for p in shape.points]
    assert sorted(crossed) == sorted(map(tuple, VIEW.all(records.place[records.goes]))) * (
        not left_over
    )


@pytest.mark.parametrize("left_over", [False, True])
def test_many_records_are_gathered_where_one_of_them_lies_and_told_by_most(left_over: bool):
    records = some(60_000)
    found = list(marks(VIEW, records, left_over=left_over))
    at = {tuple(p): (c, g) for p, c, g in zip(
        VIEW.all(records.place).tolist(), records.colour, records.goes, strict=True
    )}  # fmt: skip
    drawn = [tuple(p) for shape in found for p in shape.points.tolist()]
    assert set(drawn) <= set(at) and len(drawn) < 40_000
    crossed = {tuple(p) for shape in found if shape.style == "cross" for p in shape.points.tolist()}
    assert bool(crossed) != left_over and all(at[p][1] for p in crossed)
    assert not any(at[p][1] for p in set(drawn) - crossed)
    cells = {(math.floor(x / 2.0), math.floor(y / 2.0)) for (x, y), (_, g) in at.items() if not g}
    assert len(drawn) - len(crossed) == len(cells)
    sure = Records(
        records.place, np.full(60_000, 3, np.uint8), np.zeros(60_000, np.bool_), records.size
    )
    assert {shape.style for shape in marks(VIEW, sure, left_over=False)} == {"s3", "s3 half"}


@pytest.mark.parametrize("left_over", [False, True])
def test_bars_are_as_long_as_the_root_of_what_they_count(left_over: bool):
    records = some(20_000, tiny=0.5)
    found = list(marks(VIEW, records, left_over=left_over))
    bars = [shape for shape in found if isinstance(shape, Line)]
    assert has_bars(records) and bars
    tiny = records.size < 1.0
    shown = tiny & ~records.goes if left_over else tiny
    bins = int(2.0 * math.pi * VIEW.radius / 2.4)
    number = (np.angle(records.place) / (2.0 * math.pi) % 1.0 * bins).astype(int)
    counts = np.bincount(number[shown], minlength=bins)
    most = np.bincount(number[tiny]).max()  # of everything, so that both pictures have one scale
    assert len(bars) == np.count_nonzero(counts)
    for bar in bars:
        end = complex(bar.steps[0].x - VIEW.x, VIEW.y - bar.steps[0].y)
        start = complex(bar.x - VIEW.x, VIEW.y - bar.y)
        turn = np.angle(start) / (2.0 * math.pi) % 1.0
        count = counts[int(turn * bins)]
        assert abs(end - start) == pytest.approx(
            2.0 + (BAR - 2.0) * math.sqrt(count / most), abs=1e-6
        )
        assert abs(start) == pytest.approx(VIEW.radius + 2.0)
    assert any(bar.style == "bar gone" for bar in bars) != left_over
    dots = [shape for shape in found if isinstance(shape, Dots)]
    assert all(abs(complex(x - 300, y - 300)) < 0.81 * 250 for d in dots for x, y in d.points)
