"""Words of a picture: names made fit to be drawn, how wide they are, and where there is room.

Knows nothing of topics; a name may hold anything.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Label", "counted", "fit", "placed", "shown", "width"]

LONGEST = 26
_ISOLATED = "\u2068{}\u2069"  # a name written from right to left turns nothing around it
_JOINERS = "\u200c\u200d"  # parts of words and of emoji
_NARROW, _WIDE, _USUAL = 0.3, 1.25, 0.57


@dataclass(frozen=True)
class Label:
    """Words that want to stand beside something.

    Attributes:
        x, y: where it would stand best: its middle on the line of its text.
        text: what it says.
        size: of its letters, in pixels.
        rank: the less, the sooner it is given room.
        style: by which it is drawn.
        key: what it belongs to.
    """

    x: float
    y: float
    text: str
    size: float
    rank: float
    style: str
    key: int


def shown(name: str, longest: int = LONGEST) -> str:
    """Return a name as one short line, without signs that draw nothing or turn the rest around.

    Args:
        name: anything.
        longest: how many letters of usual width it may take.
    """
    head = name[: 8 * longest]
    line = " ".join("".join(map(_sign, head)).split())
    room, kept = longest * _USUAL, []
    for sign in line:
        room -= _advance(sign)
        if room < 0.0:
            break
        kept.append(sign)
    if len(kept) < len(line) or len(name) > len(head):
        return "".join(kept[:-1]).rstrip() + "…"
    return line or "\u25a1"


def _sign(sign: str) -> str:
    kind = unicodedata.category(sign)
    if kind in {"Cc", "Zl", "Zp", "Zs"}:
        return " "
    return "" if kind in {"Cf", "Cs", "Co", "Cn"} and sign not in _JOINERS else sign


def counted(name: str, count: int, longest: int = LONGEST) -> str:
    """Return a name with its number."""
    return f"{_ISOLATED.format(shown(name, longest))} · {count:,}"


def width(text: str, size: float) -> float:
    """Return about how wide a line is drawn, rather more than less."""
    return size * sum(map(_advance, text))


def _advance(sign: str) -> float:
    if unicodedata.category(sign) in {"Mn", "Me", "Cf"}:
        return 0.0
    if unicodedata.east_asian_width(sign) in {"W", "F"}:
        return _WIDE
    if sign in "iIjl.,:;'|!()[] ":
        return _NARROW
    return 0.85 if sign in "mwMW—…" else 0.68 if sign.isupper() else _USUAL


def fit(labels: Sequence[Label], top: float, bottom: float, gap: float = 1.3) -> list[Label]:
    """Move the labels of one column up and down until none lies on another.

    The least ranks are left out where there is no room for all. Each keeps to its order, and is
    moved as little as the others let it.

    Args:
        labels: of the column.
        top, bottom: between which the column stands.
        gap: from line to line, in sizes of letters.
    """
    kept: list[Label] = []
    room = bottom - top
    for label in sorted(labels, key=lambda each: each.rank):
        room -= label.size * gap
        if room < 0.0:
            break
        kept.append(label)
    kept.sort(key=lambda each: (each.y, each.rank))
    heights = [label.size * gap for label in kept]
    middles = _spread([label.y for label in kept], heights, top, bottom)
    return [
        Label(each.x, y, each.text, each.size, each.rank, each.style, each.key)
        for each, y in zip(kept, middles, strict=True)
    ]


def _spread(wanted: list[float], heights: list[float], top: float, bottom: float) -> list[float]:
    """Return the middles of boxes of some heights, in order, nearest to where they want to be.

    Boxes that touch are joined to a block, which stands where its members want it on average: the
    pool-adjacent-violators algorithm.
    """
    blocks: list[list[float]] = []  # weight, sum of wanted starts, height
    before = 0.0
    for want, height in zip(wanted, heights, strict=True):
        blocks.append([1.0, want - height / 2.0 - before, 0.0])
        before += height
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1][0] += last[0]
            blocks[-1][1] += last[1]
    starts = [_mean(block) for block in blocks for _ in range(int(block[0]))]
    most = bottom - top - sum(heights)
    middles, before = [], 0.0
    for start, height in zip(starts, heights, strict=True):
        middles.append(top + min(max(start - top, 0.0), most) + before + height / 2.0)
        before += height
    return middles


def _mean(block: list[float]) -> float:
    return block[1] / block[0]


def placed(labels: Sequence[Label]) -> list[Label]:
    """Return the labels, each around its middle, that have room there; least ranks first."""
    boxes: list[tuple[float, float, float, float]] = []
    kept: list[Label] = []
    for label in sorted(labels, key=lambda each: each.rank):
        half = width(label.text, label.size) / 2.0 + 2.0
        box = (label.x - half, label.y - label.size, label.x + half, label.y + label.size * 0.4)
        if not any(_meet(box, other) for other in boxes):
            boxes.append(box)
            kept.append(label)
    return kept


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
