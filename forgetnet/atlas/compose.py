"""A chart laid out on paper: one disk, or two side by side, with words around them.

Knows nothing of file formats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from forgetnet.atlas.chart import COLOURS, Chart, Ints
from forgetnet.atlas.disk import Complexes, Doubles, move
from forgetnet.atlas.labels import Label, counted, fit, placed, shown, width
from forgetnet.atlas.layout import REACH
from forgetnet.atlas.marks import BAR, Records, has_bars, marks
from forgetnet.atlas.scene import Circle, Dots, Line, Scene, Shape, Step, Text, View

__all__ = ["BARS", "NOTE", "PIECES", "compose", "counts_of", "headline"]

_MARGIN = 28.0
_HEAD = 76.0
_AWAY = 14.0  # of the names beside the disk
_NODE = 2.2
_SEEN, _FINE = 1.0, 0.25  # pixels of radius of a topic's disk: to be seen, to be led to
_LEGIBLE = 1.8  # from which a topic is named that isn't right below the one in the middle
_LINES = 1_500  # branches, and circles of topics, that are drawn at most: the longest
_NAMED = 64  # labels beside one disk at most
NOTE = (
    "Places come from the paths of topics alone: near is filed nearby, not alike in meaning. "
    "Nothing moves when something is forgotten."
)
PIECES = (
    "Topics near it share its part of the disk, so pieces and rings stand for its half-plane; a "
    "taxonomy would give each its own."
)
BARS = "Bars around the rim count what is filed too deep to be seen from here."

_UNNAMED = {"ids": "records by their ids", "filter": "what a filter matches"}


@dataclass(frozen=True)
class _Sizes:
    """Of a picture with one disk or two, in pixels."""

    radius: float
    side: float
    letters: float
    longest: int


_ONE = _Sizes(290.0, 172.0, 13.0, 20)
_TWO = _Sizes(230.0, 128.0, 13.0, 13)


def counts_of(number: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def headline(chart: Chart, *, after: bool) -> tuple[str, str]:
    """Say what is drawn, and what would go."""
    named = int(np.count_nonzero(chart.own[1:]))
    people = sum(count > 0 for _, count in chart.subjects) + chart.others[0]
    title = f"{counts_of(len(chart), 'record')} under {counts_of(named, 'topic')}"
    if not len(chart):
        title = "Nothing is stored here"
    if people:
        title += f", of {counts_of(people, 'subject')}"
    if chart.focus:
        title += f"; in the middle: {shown(chart.layout.paths[chart.focus][-1])}"
    taken = chart.taken
    if taken is None:
        return title, ""
    what = f"{taken.kind} {shown(taken.name, 40)}" if taken.name else _UNNAMED[taken.kind]
    drawn = int(np.count_nonzero(chart.goes))
    went = f"{counts_of(len(taken.ids), 'record')} would go"
    if drawn < len(taken.ids):
        went += f", {drawn:,} of them drawn here"
    if taken.held:
        went += f"; {taken.held:,} more match and are held"
    return title, f"Forgetting {what}: {went}." + ("" if after else " They are red.")


def compose(chart: Chart, *, after: bool) -> Scene:
    """Lay a chart out: as it is, or beside what would be left of it."""
    sizes = _TWO if after else _ONE
    panel = 2.0 * (sizes.radius + sizes.side)
    whole = 2.0 * _MARGIN + panel * (2 if after else 1)
    title, about = headline(chart, after=after)
    top = _HEAD + (26.0 if after else 0.0)
    shapes: list[Shape] = [Text("title", _MARGIN, 40.0, title, 19.0, "start")]
    if about:
        shapes.append(Text("going", _MARGIN, 63.0, about, 13.0, "start"))
    middle = top + sizes.radius + (10.0 + BAR if after else 10.0)
    left = View(_MARGIN + panel / 2.0, middle, sizes.radius)
    shapes += _Panel(chart, left, sizes, left_over=False).shapes()
    if after:
        right = View(left.x + panel, middle, sizes.radius)
        shapes += _Panel(chart, right, sizes, left_over=True).shapes()
        stays = len(chart) - int(np.count_nonzero(chart.goes))
        for view, said in ((left, f"now: {len(chart):,}"), (right, f"after: {stays:,}")):
            shapes.append(Text("label", view.x, top - 8.0, said, 14.0))
    bottom = middle + sizes.radius + 42.0
    legend, bottom = _legend(chart, _MARGIN, bottom, whole - 2.0 * _MARGIN)
    shapes += legend
    barred = any(isinstance(shape, Line) and shape.style.startswith("bar") for shape in shapes)
    pieced = bool(chart.region.alone)
    for line in (NOTE, *[BARS] * barred, *[PIECES] * pieced):
        bottom += 22.0
        shapes.append(Text("soft", _MARGIN, bottom, line, 12.0, "start"))
    return Scene(whole, bottom + 22.0, title, f"{about} {NOTE}".strip(), shapes)


@dataclass(frozen=True)
class _Panel:
    """One disk with its words, of everything or of what would be left over."""

    chart: Chart
    view: View
    sizes: _Sizes
    left_over: bool

    def shapes(self) -> list[Shape]:
        """Return all of it, from the lowest on."""
        chart = self.chart
        focus = complex(chart.layout.place[chart.focus])
        place = move(chart.layout.place, -focus)
        centre, radius = _circles(place)
        large = self.view.radius * radius
        point = move(chart.point, -focus)
        records = Records(point, chart.colour, chart.goes, large[chart.topic])
        kept = _totals(chart) if self.left_over else chart.total
        found: list[Shape] = [Circle("plane", self.view.x, self.view.y, self.view.radius)]
        found += self._region("ghost" if self.left_over else "region", focus)
        drawn = np.flatnonzero((large > _FINE) & (kept > 0))
        drawn = drawn[np.argsort(-large[drawn], kind="stable")][:_LINES]
        seen = drawn[large[drawn] > _SEEN]
        found += [
            self.view.edge("edge", complex(place[chart.layout.parent[i]]), complex(place[i]))
            for i in drawn.tolist()
            if i
        ]
        for i in seen.tolist():
            x, y = self.view.xy(complex(centre[i] if chart.own[i] else place[i]))
            style, size = ("topic", large[i]) if chart.own[i] else ("node", _NODE)
            found.append(Circle(style, x, y, size))
        found += marks(self.view, records, left_over=self.left_over)
        if not self.left_over:
            found += self._region("border", focus)
            for i in self._ringed(large):
                x, y = self.view.xy(complex(centre[i] if chart.own[i] else place[i]))
                found.append(Circle("border", x, y, max(chart.own[i] and large[i] + 3.0, 7.0)))
        out = _AWAY + (BAR if has_bars(records) else 0.0)
        return [*found, *self._words(seen, centre, large, kept, out)]

    def _region(self, style: str, focus: complex) -> Iterator[Line]:
        """Enclose the half-planes that would go, as they lie with the focus in the middle."""
        for topic in self.chart.region.wholes:
            arc = self.chart.layout.arc(topic).moved(-focus)
            if style == "border":
                yield self.view.edge(style, arc.last, arc.first)
            else:
                yield self.view.half_plane(style, arc)

    def _ringed(self, large: Doubles) -> Iterator[int]:
        """Give out the topics to draw a ring around: those that stand alone, or are hard to see."""
        region = self.chart.region
        for first, i in enumerate(region.alone):
            if large[i] > _SEEN or not first:
                yield i
        for i in region.wholes[: not region.alone]:
            if large[i] < 2.0 * _SEEN:
                yield i

    def _words(
        self, seen: Ints, centre: Complexes, large: Doubles, kept: Ints, away: float
    ) -> Iterator[Shape]:
        """Name topics, the largest first: near the middle below them, else beside the disk."""
        chart, view, size = self.chart, self.view, self.sizes.letters
        ahead = sorted((i for i in seen.tolist() if i), key=lambda i: (-int(kept[i]), i))
        inside: list[Label] = []
        beside: dict[bool, list[Label]] = {False: [], True: []}
        top = int(chart.layout.depth[chart.focus]) + 1
        for rank, i in enumerate(ahead[:_NAMED]):
            name = counted(chart.layout.paths[i][-1], int(kept[i]), self.sizes.longest)
            x, y = view.xy(complex(centre[i]))
            first = chart.layout.depth[i] <= top
            if not first and large[i] < _LEGIBLE:
                continue
            style, letters = ("label", size) if first else ("minor", size - 2.0)
            if abs(centre[i]) < 0.5:
                y += (large[i] if chart.own[i] else _NODE) + letters + 2.0
                inside.append(Label(x, y, name, letters, rank, style, i))
            else:
                beside[x >= view.x].append(Label(x, y, name, letters, rank, style, i))
        for label in placed(inside):
            yield Text(label.style, label.x, label.y, label.text, label.size)
        for right, labels in beside.items():
            yield from self._column(labels, centre, away, right=right)

    def _column(
        self, labels: list[Label], centre: Complexes, away: float, *, right: bool
    ) -> Iterator[Shape]:
        view = self.view
        for label in fit(labels, view.y - view.radius - 10.0, view.y + view.radius + 10.0):
            nearest = max(0.0, abs(label.y - view.y) - label.size / 2.0)
            out = math.sqrt(max(0.0, (view.radius + away) ** 2 - nearest**2))
            x = view.x + (out if right else -out)
            start = view.xy(complex(centre[label.key]))
            end = Step(x - (3.0 if right else -3.0), label.y)
            yield Line("leader", *start, (end,))
            anchor = "start" if right else "end"
            yield Text(label.style, x, label.y + 0.35 * label.size, label.text, label.size, anchor)


def _totals(chart: Chart) -> Ints:
    """Count the records that would stay, of each topic and all under it."""
    total = np.bincount(chart.topic[~chart.goes], minlength=len(chart.total)).astype(np.intp)
    for i in range(len(total) - 1, 0, -1):
        total[chart.layout.parent[i]] += total[i]
    return total


def _circles(place: Complexes) -> tuple[Complexes, Doubles]:
    """Return how the disks of topics' records are drawn: middles and radii of circles."""
    reach = math.tanh(REACH / 2.0) ** 2
    square = place.real**2 + place.imag**2
    below = 1.0 - reach * square
    return place * ((1.0 - reach) / below), math.sqrt(reach) * (1.0 - square) / below


def _legend(chart: Chart, x: float, y: float, room: float) -> tuple[list[Shape], float]:
    """Write whose colour is whose, in as many rows as it takes; return the last one's height."""
    coloured = enumerate(chart.subjects)
    entries = [(f"s{i}", counted(name, count, 22)) for i, (name, count) in coloured if count]
    rest = [f"{counts_of(chart.others[0], 'other')}, {chart.others[1]:,}"] * bool(chart.others[0])
    rest += [f"nobody's, {chart.nobodys:,}"] * bool(chart.nobodys)
    entries += [(f"s{COLOURS}", "; ".join(rest))] if rest else []
    shapes: list[Shape] = []
    here = x
    for style, said in entries:
        wide = 18.0 + width(said, 12.5) + 16.0
        if here + wide > x + room and here > x:
            here, y = x, y + 21.0
        shapes.append(Dots(style, np.array([[here + 6.0, y - 4.0]]), 9.0))
        shapes.append(Text("soft", here + 16.0, y, said, 12.5, "start"))
        here += wide
    return shapes, y
