"""A picture as plain shapes, in pixels from the upper left: what is drawn, before it has a format.

A shape has a style by name, as ``edge`` or ``label``; ``forgetnet.atlas.ink`` says what that looks
like. Knows nothing of files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from forgetnet.atlas.disk import Arc, Complexes, Doubles, geodesic

__all__ = ["Circle", "Dots", "Line", "Scene", "Shape", "Step", "Text", "View"]


class Step(NamedTuple):
    """One piece of a line: an arc less than half a circle, or straight where the radius is 0.

    Attributes:
        x, y: where it ends.
        radius: of the circle.
        left: whether it turns to the left, seen on the paper.
    """

    x: float
    y: float
    radius: float = 0.0
    left: bool = False


@dataclass(frozen=True)
class Line:
    """A line from a point on, closed or open."""

    style: str
    x: float
    y: float
    steps: tuple[Step, ...]
    closed: bool = False


@dataclass(frozen=True)
class Circle:
    """A circle."""

    style: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Dots:
    """Many equal marks: dots, or crosses.

    Attributes:
        points: (n, 2) pixels.
        size: from edge to edge.
        cross: whether each is a cross.
    """

    style: str
    points: Doubles = field(repr=False)
    size: float
    cross: bool = False


@dataclass(frozen=True)
class Text:
    """A line of text; ``anchor`` is start, middle or end."""

    style: str
    x: float
    y: float
    text: str = field(repr=False)
    size: float
    anchor: str = "middle"


Shape: TypeAlias = Line | Circle | Dots | Text


@dataclass(frozen=True)
class Scene:
    """A picture: its size, what it is called and about, and its shapes from the lowest on."""

    width: float
    height: float
    title: str = field(repr=False)
    about: str = field(repr=False)
    shapes: list[Shape] = field(repr=False)


@dataclass(frozen=True)
class View:
    """A disk on the paper: its middle and radius in pixels."""

    x: float
    y: float
    radius: float

    def xy(self, z: complex) -> tuple[float, float]:
        """Return where a point of the disk is drawn."""
        return self.x + self.radius * z.real, self.y - self.radius * z.imag

    def all(self, z: Complexes) -> Doubles:
        """Return where points (n,) are drawn, (n, 2)."""
        across, down = self.x + self.radius * z.real, self.y - self.radius * z.imag
        return np.stack([across, down], axis=1)

    def step(self, p: complex, q: complex) -> Step:
        """Return the geodesic from one point to another."""
        radius, left = geodesic(p, q)
        return Step(*self.xy(q), self.radius * radius, left)

    def edge(self, style: str, p: complex, q: complex) -> Line:
        """Join two points."""
        return Line(style, *self.xy(p), (self.step(p, q),))

    def half_plane(self, style: str, arc: Arc) -> Line:
        """Enclose a half-plane: its border, and back along the rim."""
        rim = tuple(Step(*self.xy(end), self.radius, left=True) for end in (arc.middle, arc.last))
        return Line(style, *self.xy(arc.first), (*rim, self.step(arc.last, arc.first)), closed=True)
