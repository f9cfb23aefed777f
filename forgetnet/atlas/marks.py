"""Records as marks: dots in their colours, crosses for what would go, bars for what is too deep.

Few records are drawn one by one. Of many, those that would fall on one another are drawn as one, in
the colour that most of them have; and where a topic's disk is too small to see, its records are
counted in bars around the rim. Knows nothing of topics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forgetnet.atlas.chart import COLOURS, Bools, Ints
from forgetnet.atlas.disk import Complexes, Doubles
from forgetnet.atlas.scene import Dots, Line, Shape, Step, View

__all__ = ["BAR", "SINGLES", "Records", "has_bars", "marks"]

SINGLES = 3_000
"""Records that are drawn one by one; more are gathered."""

BAR = 16.0
"""Pixels of the longest bar."""

_TINY = 1.2  # pixels of radius of a topic's disk, in which nothing can be seen
_ROOMY = 8.0  # from which it has room for large dots
_CELL = 2.0
_WIDE = 2.4  # pixels of the rim that a bar counts
_GONE = COLOURS + 1


class Records(NamedTuple):
    """What is drawn of records, each (m,)."""

    place: Complexes
    colour: npt.NDArray[np.uint8]
    goes: Bools
    size: Doubles  # radius of their topic's disk, in pixels


def has_bars(records: Records) -> bool:
    """Tell whether some records are drawn as bars."""
    return len(records.place) > SINGLES and bool((records.size <= _TINY).any())


def marks(view: View, records: Records, *, left_over: bool) -> Iterator[Shape]:
    """Draw records; of what would be left over, only those that stay.

    Args:
        view: the disk.
        records: all of them, also where only some are drawn, so that bars are of equal scale.
        left_over: leave those out that would go.
    """
    point = view.all(records.place)
    shown = ~records.goes if left_over else np.ones(len(point), np.bool_)
    if has_bars(records):
        tiny = records.size <= _TINY
        yield from _bars(view, records, tiny, tiny & shown)
        shown &= ~tiny
    stays, goes = shown & ~records.goes, shown & records.goes
    roomy = records.size > _ROOMY
    if len(point) > SINGLES:
        yield from _gathered(point[stays], records.colour[stays])
        point, goes = _thinned(point[goes]), np.ones(0, np.bool_)
        roomy, goes = np.zeros(len(point), np.bool_), np.ones(len(point), np.bool_)
    else:
        large = 4.4 if len(point) <= SINGLES // 4 else 3.2
        yield from _dots(point[stays], records.colour[stays], roomy[stays], large)
    for size, rows in ((3.0, goes & ~roomy), (5.0, goes & roomy)):
        if rows.any():
            yield Dots("cross", point[rows], size, cross=True)


def _dots(
    pixels: Doubles, colour: npt.NDArray[np.uint8], roomy: Bools, large: float
) -> Iterator[Dots]:
    for i in (COLOURS, *range(COLOURS)):  # those without a colour of their own lie lowest
        for size, rows in ((2.2, ~roomy), (large, roomy)):
            if len(found := pixels[rows & (colour == i)]):
                yield Dots(f"s{i}", found, size)


def _gathered(pixels: Doubles, colour: npt.NDArray[np.uint8]) -> Iterator[Dots]:
    """Draw one dot for all that fall into a cell, where the first lies; fainter for few."""
    first, number = _cells(pixels, _CELL)
    table = np.zeros((len(first), COLOURS + 1), np.intp)
    np.add.at(table, (number, colour), 1)
    most, strong = table.argmax(axis=1), table.sum(axis=1) > 2
    for i in (COLOURS, *range(COLOURS)):
        for strength, rows in ((" half", ~strong), ("", strong)):
            if len(found := pixels[first[rows & (most == i)]]):
                yield Dots(f"s{i}{strength}", found, _CELL)


def _thinned(pixels: Doubles) -> Doubles:
    """Return a pixel for each cell in which some lie."""
    thinned: Doubles = pixels[_cells(pixels, 2.0 * _CELL)[0]]
    return thinned


def _cells(pixels: Doubles, cell: float) -> tuple[Ints, Ints]:
    """Return for each cell the row of the first pixel in it, and for each pixel its cell."""
    corner = np.floor(pixels / cell).astype(np.int64)
    code = corner[:, 0] * 65_536 + corner[:, 1]
    _, first, number = np.unique(code, return_index=True, return_inverse=True)
    return first, number


def _bars(view: View, records: Records, scaled: Bools, shown: Bools) -> Iterator[Line]:
    """Count records around the rim, in bars as long as the root of their number."""
    bins = int(2.0 * math.pi * view.radius / _WIDE)
    turn = np.angle(records.place) / (2.0 * math.pi) % 1.0
    number = np.minimum((turn * bins).astype(np.intp), bins - 1)
    longest = math.sqrt(int(np.bincount(number[scaled]).max()))
    table = np.zeros((bins, _GONE + 1), np.intp)
    colour = np.where(records.goes, _GONE, records.colour)
    np.add.at(table, (number[shown], colour[shown]), 1)
    counts, most = table.sum(axis=1), table.argmax(axis=1)
    for i in np.flatnonzero(counts).tolist():
        toward = complex(math.cos(angle := 2.0 * math.pi * (i + 0.5) / bins), math.sin(angle))
        length = 2.0 + (BAR - 2.0) * math.sqrt(counts[i]) / longest
        start, end = (view.radius + 2.0) / view.radius, (view.radius + 2.0 + length) / view.radius
        style = "bar gone" if most[i] == _GONE else f"bar s{most[i]}"
        yield Line(style, *view.xy(start * toward), (Step(*view.xy(end * toward)),))
