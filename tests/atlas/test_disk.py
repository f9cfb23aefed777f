"""The disk's maths are those of the Poincare ball, and what is drawn is what they say."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.atlas.disk import ORIGIN, Arc, geodesic, holds, move, moved
from forgetnet.atlas.png import _points
from forgetnet.atlas.scene import View
from forgetnet.geometry import poincare

ANGLE = st.floats(-math.pi, math.pi)


def polar(radius: float, angle: float) -> complex:
    return math.tanh(radius / 2.0) * cmath.exp(1j * angle)


def points(most: float) -> st.SearchStrategy[complex]:
    return st.builds(polar, st.floats(0.0, most), ANGLE)


def tensor(z: complex) -> torch.Tensor:
    return torch.tensor([z.real, z.imag], dtype=torch.float64)


def distance(p: complex, q: complex) -> float:
    return float(poincare.dist(tensor(p), tensor(q), c=1.0))


@given(points(6.0), points(6.0))
def test_a_move_is_the_mobius_sum_and_is_undone_by_its_negative(z: complex, to: complex):
    expected = poincare.mobius_add(tensor(to), tensor(z), c=1.0)
    assert moved(z, to) == pytest.approx(complex(*expected.tolist()), abs=1e-11)
    (carried,) = move(np.array([z]), to)
    assert carried == pytest.approx(moved(z, to), abs=1e-12)
    assert moved(moved(z, to), -to) == pytest.approx(z, abs=1e-9)


@given(points(5.0), points(5.0), points(5.0))
def test_a_move_keeps_distances(p: complex, q: complex, to: complex):
    kept = distance(moved(p, to), moved(q, to))
    assert kept == pytest.approx(distance(p, q), abs=1e-5)


@given(st.lists(points(9.0), min_size=1, max_size=40), points(9.0), st.data())
def test_a_moved_point_has_the_same_bits_in_any_company(z: list[complex], to: complex, data):
    places = np.array([to, *z[1:]])
    i = data.draw(st.integers(0, len(z) - 1))
    together = move(np.array(z), places)
    alone = move(np.array(z[i : i + 1]), places[i : i + 1])
    assert together[i : i + 1].tobytes() == alone.tobytes()


@given(st.lists(st.tuples(ANGLE, st.floats(0.0, 3.0)), min_size=1, max_size=6))
def test_a_walk_is_as_long_as_it_says_and_ends_where_moves_end(steps: list[tuple[float, float]]):
    frame, place = ORIGIN, 0j
    for turn, length in steps:
        ahead = frame.walk(turn, length)
        assert distance(frame.place, ahead.place) == pytest.approx(length, abs=1e-4)
        # seen from where it starts, the way leaves in the direction of the rim that it turned to
        seen, toward = moved(ahead.place, -frame.place), moved(frame.rim(turn), -frame.place)
        if length > 1e-3 and frame.radius < 8.0:
            assert abs(cmath.phase(seen / toward)) < 1e-5
        frame, place = ahead, ahead.place
    assert frame.radius == pytest.approx(
        float(poincare.dist0(tensor(place), c=1.0)), rel=1e-3, abs=1e-3
    )


def arc_of(angle: float, border: float) -> Arc:
    """The half-plane beyond a distance in a direction, at a right angle to it."""
    half = math.acos(math.tanh(border))
    return Arc(*(cmath.exp(1j * (angle + side * half)) for side in (-1.0, 0.0, 1.0)))


@given(ANGLE, st.floats(-2.0, 4.0), points(5.0))
def test_a_half_plane_is_the_half_space_of_its_query(angle: float, border: float, z: complex):
    query = np.array([-math.tanh(border), math.cos(angle), math.sin(angle)])
    lorentz = poincare.poincare_to_lorentz(tensor(z), c=1.0).numpy()
    score = float(query @ lorentz) / lorentz[0]
    if abs(score) > 1e-9:  # on the border both are rounding
        assert holds(arc_of(angle, border), np.array([z]))[0] == (score > 0.0)


@given(ANGLE, st.floats(-1.0, 3.0), points(4.0), points(4.0))
def test_moving_the_world_moves_its_half_planes(
    angle: float, border: float, z: complex, to: complex
):
    arc = arc_of(angle, border)
    turned = (
        (z - arc.first)
        / (z - arc.last)
        * ((arc.middle - arc.first) / (arc.middle - arc.last)).conjugate()
    )
    if abs(turned.real) > 1e-6 * abs(turned):
        before = holds(arc, np.array([z]))
        assert holds(arc.moved(to), move(np.array([z]), to)) == before


@given(points(4.0), points(4.0))
def test_a_drawn_branch_is_the_shortest_way(p: complex, q: complex):
    view = View(100.0, 200.0, 80.0)
    line = view.edge("edge", p, q)
    way = [complex((x - 100.0) / 80.0, (200.0 - y) / 80.0) for x, y in _points(line)]
    assert way[0] == pytest.approx(p, abs=1e-9) and way[-1] == pytest.approx(q, abs=1e-9)
    for z in way:
        assert distance(p, z) + distance(z, q) == pytest.approx(distance(p, q), abs=1e-4)


@given(ANGLE, st.floats(0.05, math.pi - 0.05))
def test_the_border_of_a_half_plane_meets_the_rim_at_right_angles(angle: float, half: float):
    arc = Arc(*(cmath.exp(1j * (angle + side * half)) for side in (-1.0, 0.0, 1.0)))
    radius, _ = geodesic(arc.last, arc.first)
    if radius:  # tangent length from the middle of the circle: 1
        assert radius == pytest.approx(abs(math.tan(half)), rel=1e-6)
    else:
        assert half == pytest.approx(math.pi / 2.0, abs=1e-6)
    inner = cmath.exp(1j * angle) * math.tanh((math.atanh(math.cos(half)) + 0.1) / 2.0)
    outer = cmath.exp(1j * angle) * math.tanh((math.atanh(math.cos(half)) - 0.1) / 2.0)
    assert holds(arc, np.array([inner, outer])).tolist() == [True, False]
