"""The hyperbolic plane as a disk of complex numbers: moves, half-planes, and arcs to draw them by.

Curvature -1: the point at distance r from the origin in direction u is ``tanh(r / 2) u``. The maths
are those of ``forgetnet.geometry.poincare`` in two dimensions, without torch, so that a picture
doesn't wait for it; the tests hold one against the other. A point's result has the same bits in any
company: numpy's complex product hasn't, so arrays are moved by real sums and products.

Knows of no topics and no records.
"""

from __future__ import annotations

import cmath
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["ORIGIN", "Arc", "Complexes", "Doubles", "Frame", "geodesic", "holds", "move", "moved"]

Complexes = npt.NDArray[np.complex128]
Doubles = npt.NDArray[np.float64]

_STRAIGHT = 1e-9


class Frame(NamedTuple):
    """An isometry of the plane, z -> (a z + b) / (b* z + a*): a place, and what is ahead there."""

    a: complex
    b: complex

    @property
    def place(self) -> complex:
        """Where the origin is carried."""
        return self.b / self.a.conjugate()

    @property
    def radius(self) -> float:
        """How far that is from the origin."""
        return 2.0 * math.acosh(max(1.0, abs(self.a)))

    def rim(self, angle: float) -> complex:
        """Return the point of the rim in a direction, in radians to the left of what is ahead."""
        z = cmath.exp(1j * angle)
        end = (self.a * z + self.b) / (self.b.conjugate() * z + self.a.conjugate())
        return end / abs(end)

    def walk(self, turn: float, length: float) -> Frame:
        """Turn to the left by ``turn`` radians, and go ``length`` ahead."""
        half = cmath.exp(0.5j * turn)
        a, b = half * math.cosh(length / 2.0), half * math.sinh(length / 2.0)
        return Frame(self.a * a + self.b * b.conjugate(), self.a * b + self.b * a.conjugate())


ORIGIN = Frame(1 + 0j, 0j)


class Arc(NamedTuple):
    """A half-plane, by three points of the rim: its two ends, and one between, counterclockwise.

    Its border is the geodesic from end to end, an arc of a circle orthogonal to the rim.
    """

    first: complex
    middle: complex
    last: complex

    def moved(self, to: complex) -> Arc:
        """Return the half-plane after the origin was carried to ``to``."""
        carried = [moved(end, to) for end in self]
        return Arc(*(end / abs(end) for end in carried))


def moved(z: complex, to: complex) -> complex:
    """Carry the origin to ``to``, and a point with it: the Mobius sum (z + to) / (1 + to* z)."""
    return (z + to) / (1.0 + to.conjugate() * z)


def move(z: Complexes, to: complex | Complexes) -> Complexes:
    """Carry points (n,) as :func:`moved` does, each to a place of its own or all to one."""
    x, y, u, v = z.real, z.imag, to.real, to.imag
    above, beside = x + u, y + v
    below, off = 1.0 + (u * x + v * y), u * y - v * x
    size = below * below + off * off
    carried = np.empty(np.broadcast_shapes(np.shape(z), np.shape(to)), np.complex128)
    carried.real = (above * below + beside * off) / size
    carried.imag = (beside * below - above * off) / size
    return carried


def holds(arc: Arc, z: Complexes) -> npt.NDArray[np.bool_]:
    """Tell which points (n,) lie inside a half-plane, as (n,) booleans.

    (z - first) / (z - last) takes circles through the two ends to lines through the origin, and
    the border to the one at a right angle to that of the rim.
    """
    turned = (z - arc.first) / (z - arc.last)
    rim = (arc.middle - arc.first) / (arc.middle - arc.last)
    inside: npt.NDArray[np.bool_] = (turned * rim.conjugate()).real > 0.0
    return inside


def geodesic(p: complex, q: complex) -> tuple[float, bool]:
    """Return the circle by which two points are joined: its radius, and whether it turns left.

    The radius is 0 where it is a straight line, a diameter of the disk. Both points may lie on the
    rim.
    """
    cross = p.real * q.imag - p.imag * q.real
    if abs(cross) < _STRAIGHT * max(abs(p), abs(q), _STRAIGHT):
        return 0.0, False
    # centre c with 2 <c, p> = 1 + |p|^2 and 2 <c, q> = 1 + |q|^2: the rim is met at right angles
    left, right = (1.0 + abs(p) ** 2) / 2.0, (1.0 + abs(q) ** 2) / 2.0
    centre = complex(left * q.imag - right * p.imag, right * p.real - left * q.real) / cross
    return abs(centre - p), cross < 0.0
