"""The ``place`` of a topic path: a point of hyperbolic space that no data has shaped.

A path is hashed, level by level, into a point of the Lorentz model with 16 dimensions and
curvature -1: 17 float32, 68 bytes. Each child is its parent boosted along a direction that comes
from HMAC-SHA256(salt, the whole path), so a place depends on its own path and the salt, and on
nothing else that was ever stored: nothing is learned, and nothing is to unlearn. A subtree is then
one half-space, and ``<query, place> > threshold`` (a plain inner product, as FAISS and LanceDB
serve it) finds it.

Coordinates. A node at depth l lies at radius r_l in direction u, a unit vector of R^16:
x = (cosh r_l, sinh r_l u). Its child lies at radius r_(l+1) in direction u cos p + h sin p, where
the angle p = p_(l+1) belongs to the depth and h, orthogonal to u, comes from the hash. That is the
boost of the parent by a length and at a turn that belong to the depth alone, because
cosh(length) = cosh r cosh r' - sinh r sinh r' cos p. From depth 3 on, h takes the sign that leans
towards the grandparent, which keeps subtrees narrow.

Promised, by construction:

* No misses. With A at depth a and x under it at depth j, cos(angle) is 1, cos p, or at least
  cos p_j cos(angle to x's parent) two levels down (because of the lean), and below that the
  triangle inequality holds. So tanh r_j cos(angle) >= c_a, one number per depth, and the query
  (-(c_a - margin), u_A) gives at least margin * cosh r_j. The margin is 24 units of 2^-24. Rounding
  17 products of float32 (2 units each for query and place, 2 for the products, 16 for the sums, in
  any order, fused or not) moves the result by at most 22 such units times cosh r_j.
* The node itself lies in its own half-space too, to depth 5. At depth 6 nothing can be under a
  node: its half-space is empty, and its 68 bytes decide.
* The same bytes on every machine: a hash, and then + - * / and square roots of float64, each
  correctly rounded, summed in a fixed order, whatever is computed beside it.

Measured, not promised: that nothing else lies inside. Two hashed directions may lie close together,
so a place under a sister may fall into a node's half-space. Of the pairs of a node and a place
under one of its sisters about 1e-9 do so at depth 1, 4e-9 at 2, 5e-9 at 3 and 1.5e-8 at 4 and 5
(``benchmarks/cones.py``; they come in bunches, and 1e10 pairs were counted), which is the share of
a sphere that the half-space cuts off. No hash to this sphere does better, and no node is safe from
it: whoever must know asks :func:`is_intact`, since a place that matches its record's path is no
fault, however it lies.

Names are compared as they are: no Unicode normalisation, no case folding. Without the salt nobody
can tell the place of a guessed path; whoever has it can, so it is key material. Two places show,
salt or not, how near their paths are in the tree. There is no cache between calls, since names in a
cache would outlive what was forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord

__all__ = [
    "DIMENSION",
    "MAX_DEPTH",
    "MIN_SALT",
    "PLACE_BYTES",
    "Cone",
    "Path",
    "assert_path",
    "check_path",
    "cone",
    "intact_mask",
    "is_intact",
    "place",
    "place_distance",
    "places",
    "subtree_mask",
]

DIMENSION = 16
MAX_DEPTH = 6
MIN_SALT = 16
PLACE_BYTES = 4 * (DIMENSION + 1)

Path = tuple[str, ...]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# By depth: e^r, and the tangent of half the angle from the parent. Chosen so that a chance capture
# is about as unlikely at every depth (a little less near the root, where trees are wide), that the
# narrowest half-space is twice the float32 margin, and that r stays below 8 (it ends at 7.955).
_GROWTH = (1.0, 6.75, 26.0, 100.0, 370.0, 1800.0, 2850.0)
_HALF_TURN = (0.0, 0.0, 0.1357, 0.03555, 0.00989, 0.00303, 0.0004)

_COSH = tuple((e + 1.0 / e) / 2.0 for e in _GROWTH)
_SINH = tuple((e - 1.0 / e) / 2.0 for e in _GROWTH)
_COS = tuple((1.0 - h * h) / (1.0 + h * h) for h in _HALF_TURN)
_SIN = tuple(2.0 * h / (1.0 + h * h) for h in _HALF_TURN)

_UNIT = 2.0**-24
_MARGIN = 24 * _UNIT  # of a float32 product: 22 units of rounding at most, see above
_STORED = 4 * _UNIT  # of a float64 product: the place's own rounding is 2 units at most
_BAND = 44 * _UNIT  # within which float32 may stand on the wrong side of float64's answer
_WIDEST = np.float32(2.0 * _BAND * _COSH[-1])  # no place has a wider one

_DOMAIN = b"forgetnet place 1"
_DRAWS = 4  # 16-bit numbers summed per coordinate: a bell, near enough to the normal one
_STREAM = 2 * _DRAWS * DIMENSION


class Cone(NamedTuple):
    """A half-space: what has ``<query, place> > threshold`` lies at or under a path."""

    query: Doubles
    threshold: float


def check_path(path: object) -> list[str]:
    """Return the reasons why ``path`` is no topic path; none if it is one."""
    if not isinstance(path, tuple):
        return [f"a topic path is a tuple of names, not {type(path).__name__}; split it first"]
    reasons = []
    if len(path) > MAX_DEPTH:
        reasons.append(
            f"a topic path has {len(path)} levels and at most {MAX_DEPTH} are kept apart; join the "
            "deepest names into one, or move them to metadata"
        )
    for level, name in enumerate(path, 1):
        if not isinstance(name, str):
            reasons.append(f"level {level} of a topic path is not a string; give its name")
        elif not name:
            reasons.append(f"level {level} of a topic path is empty; name it or leave it out")
    return reasons


def assert_path(path: Path) -> None:
    """Refuse what isn't a topic path.

    Raises:
        InvalidRecord: with the reasons of :func:`check_path`; the names are not in the message.
    """
    if reasons := check_path(path):
        raise InvalidRecord("; ".join(reasons))


def place(path: Path, salt: bytes) -> Floats:
    """Return the place of one path: (17,) float32, time coordinate first.

    Args:
        path: names from the top; ``()`` is the origin (1, 0, ..., 0).
        salt: secret bytes, at least ``MIN_SALT`` of them.

    Raises:
        InvalidRecord: the path is too deep or has an empty name, or the salt is too short.
    """
    row: Floats = places([path], salt)[0]
    return row


def places(paths: Sequence[Path], salt: bytes) -> Floats:
    """Return the places of many paths, (n, 17) float32, each distinct one computed once.

    Row i has the bytes of ``place(paths[i], salt)``, whatever the other rows are.

    Raises:
        InvalidRecord: as :func:`place`; then no row is returned.
    """
    distinct = dict.fromkeys(paths)
    for path in distinct:
        assert_path(path)
    number = {path: i for i, path in enumerate(distinct)}
    depths = np.array([len(path) for path in distinct], np.intp)
    axes = _axes(list(distinct), salt)
    table = np.empty((len(distinct), DIMENSION + 1))
    table[:, 0] = np.array(_COSH)[depths]
    table[:, 1:] = (np.array(_SINH)[depths] * axes).T
    rows = np.array([number[path] for path in paths], np.intp)
    return table.astype(np.float32)[rows]


def cone(path: Path, salt: bytes) -> Cone:
    """Return the half-space that holds every place at or under ``path``.

    ``<query, x> > threshold`` is true, in float32 and in any order of summation, for every place
    ``x`` at or under the path; it may be true, by a measured chance, for a place elsewhere. The
    query's coordinates are float64 that float32 holds exactly. At ``MAX_DEPTH`` no place
    satisfies it: there, look for the 68 bytes of the path's own place.

    Raises:
        InvalidRecord: as :func:`place`.
    """
    assert_path(path)
    axis = _axes([path], salt)[:, 0]
    query = _normal(len(path), axis, _MARGIN)
    return Cone(query.astype(np.float32).astype(np.float64), 0.0)


def subtree_mask(points: Floats, path: Path, salt: bytes) -> npt.NDArray[np.bool_]:
    """Tell which rows of ``points`` (n, 17) lie at or under ``path``, as (n,) booleans.

    One float32 product; rows too near the border for float32 are decided in float64, in a fixed
    order of summation, where the margin is only what storage rounds off. So it captures less by
    chance than the bare :func:`cone`, and a row's answer never depends on the others.

    Raises:
        InvalidRecord: as :func:`place`, or ``points`` isn't (n, 17) float32.
    """
    assert_path(path)
    rows = _rows(points)
    if len(path) == MAX_DEPTH:
        return _same_bytes(rows, place(path, salt)[None])
    query = _normal(len(path), _axes([path], salt)[:, 0], _STORED)
    with np.errstate(over="ignore", invalid="ignore"):  # a damaged place may hold anything
        scores = np.einsum("ij,j->i", rows, query.astype(np.float32))  # quicker than BLAS on 17
        inside: npt.NDArray[np.bool_] = scores > -_WIDEST  # all that may be
        some = np.flatnonzero(inside)
        band = np.float32(_BAND) * np.abs(rows[some, 0])
        inside[some] = scores[some] > band
        near = some[np.abs(scores[some]) <= band]
        inside[near] = _dot(rows[near].T.astype(np.float64), query[:, None]) > 0.0
    return inside


def is_intact(place_bytes: bytes, path: Path, salt: bytes) -> bool:
    """Tell whether ``place_bytes`` are the place of ``path``: the arbiter between the two.

    When the path column and a half-space disagree about a record, this recomputes the place from
    the path. False: one of the two was altered. True: both are as written, and the half-space
    captured the record by chance.

    Raises:
        InvalidRecord: as :func:`place`.
    """
    return place(path, salt).tobytes() == place_bytes


def intact_mask(points: Floats, paths: Sequence[Path], salt: bytes) -> npt.NDArray[np.bool_]:
    """Answer :func:`is_intact` for row i of ``points`` (n, 17) and ``paths[i]``, as (n,) booleans.

    Raises:
        InvalidRecord: as :func:`place`, or ``points`` isn't (n, 17) float32 for n paths.
    """
    rows = _rows(points)
    if len(rows) != len(paths):
        raise InvalidRecord(f"{len(rows)} places for {len(paths)} paths; give one for each")
    return _same_bytes(rows, places(paths, salt))


def place_distance(query_place: Floats, points: Floats) -> Doubles:
    """Return the hyperbolic distance from one place (17,) to each of (n, 17), as (n,) float64.

    The time coordinate is taken from the space part in float64, and the distance from
    sinh(d/2)^2 = sinh((a-b)/2)^2 + sinh a sinh b |u-v|^2 / 4, with radii a, b and directions u, v:
    no difference of large numbers, and exactly 0 for equal places. A row's distance doesn't depend
    on the other rows.
    """
    one = _polar(query_place.astype(np.float64)[1:, None])
    many = _polar(points.astype(np.float64)[:, 1:].T)
    radial = np.square(one.growth - many.growth) / (4.0 * one.growth * many.growth)
    gap = one.axis - many.axis
    angular = one.sinh * many.sinh * _dot(gap, gap) / 4.0
    distance: Doubles = 2.0 * np.arcsinh(np.sqrt(radial + angular))
    return distance


def _rows(points: Floats) -> Floats:
    if points.ndim != 2 or points.shape[1] != DIMENSION + 1 or points.dtype != np.float32:
        raise InvalidRecord(
            f"places are (n, {DIMENSION + 1}) float32, not {points.shape} {points.dtype}"
        )
    return np.ascontiguousarray(points)


def _same_bytes(a: Floats, b: Floats) -> npt.NDArray[np.bool_]:
    """Compare rows as bits: -0.0 is not 0.0, and NaN is itself."""
    same: npt.NDArray[np.bool_] = (a.view(np.uint32) == b.view(np.uint32)).all(axis=1)
    return same


class _Polar(NamedTuple):
    """Points as sinh r (n,), e^r (n,) and unit directions (16, n)."""

    sinh: Doubles
    growth: Doubles
    axis: Doubles


def _polar(space: Doubles) -> _Polar:
    squared = _dot(space, space)
    sinh = np.sqrt(squared)
    return _Polar(sinh, sinh + np.sqrt(1.0 + squared), space / np.where(sinh > 0.0, sinh, 1.0))


def _dot(a: Doubles, b: Doubles) -> Doubles:
    """Inner products of the columns of two (k, n) arrays, summed from the first row to the last.

    Elementwise products and sums are correctly rounded, so a column's result has the same bits in
    any company; neither BLAS nor ``sum`` promises that.
    """
    total: Doubles = a[0] * b[0]
    for left, right in zip(a[1:], b[1:], strict=True):
        total = total + left * right
    return total


def _message(path: Path) -> bytes:
    """Write a path unambiguously: each name with its length before it."""
    parts = [_DOMAIN]
    for name in path:
        encoded = name.encode("utf-8", "surrogatepass")
        parts += [len(encoded).to_bytes(8, "big"), encoded]
    return b"".join(parts)


def _draw(paths: Sequence[Path], salt: bytes) -> Doubles:
    """Hash each path to a vector of integers, (16, n): sums of four 16-bit numbers, centred.

    Their direction is as good as uniform: the density's mean square is 6% above its squared mean.
    """
    seeds = (hmac.digest(salt, _message(path), "sha256") for path in paths)
    stream = b"".join(hashlib.shake_256(seed).digest(_STREAM) for seed in seeds)
    numbers = np.frombuffer(stream, ">u2").reshape(len(paths), DIMENSION, _DRAWS)
    centred = numbers.astype(np.int64).sum(axis=2) - _DRAWS * 0xFFFF // 2
    return np.ascontiguousarray(centred.T).astype(np.float64)


def _axes(paths: Sequence[Path], salt: bytes) -> Doubles:
    """Return the directions of distinct paths, (16, n); zeros for the root."""
    if len(salt) < MIN_SALT:
        raise InvalidRecord(
            f"the salt of places must be at least {MIN_SALT} bytes; draw one with "
            "secrets.token_bytes(32) and keep it as you keep a key"
        )
    above: dict[Path, int] = {(): 0}
    axes = [np.zeros((DIMENSION, 1))]
    parents: npt.NDArray[np.intp] = np.zeros(1, np.intp)
    out = np.zeros((DIMENSION, len(paths)))
    for depth in range(1, max(map(len, paths), default=0) + 1):
        nodes = list(dict.fromkeys(path[:depth] for path in paths if len(path) >= depth))
        number = {path: i for i, path in enumerate(nodes)}
        grandparents, parents = parents, np.array([above[path[:-1]] for path in nodes], np.intp)
        drawn = _draw(nodes, salt)
        if depth == 1:
            axis = drawn / np.sqrt(_dot(drawn, drawn))
        else:
            parent = axes[-1][:, parents]
            grandparent = axes[-2][:, grandparents[parents]]
            axis = _turn(drawn, parent, grandparent, depth)
        ends = [i for i, path in enumerate(paths) if len(path) == depth]
        out[:, ends] = axis[:, [number[paths[i]] for i in ends]]
        axes.append(axis)
        above = number
    return out


def _turn(drawn: Doubles, parent: Doubles, grandparent: Doubles, depth: int) -> Doubles:
    """Turn from the parents' directions by the depth's angle towards ``drawn``; all (16, n).

    The turn leans towards the grandparent (<h, u> >= 0); the root, which has no direction, is
    leant towards by everything.
    """
    side = drawn - _dot(drawn, parent) * parent
    side = side / np.sqrt(_dot(side, side))
    side = np.where(_dot(side, grandparent) < 0.0, -side, side)
    axis = _COS[depth] * parent + _SIN[depth] * side
    turned: Doubles = axis / np.sqrt(_dot(axis, axis))
    return turned


def _reach(depth: int) -> float:
    """Return the least tanh(radius) cos(angle) that a place at or under this depth can have."""
    cosine = 1.0
    least = _SINH[depth] / _COSH[depth]
    for below in range(depth + 1, MAX_DEPTH + 1):
        if below <= depth + 2:  # the child by its turn, the grandchild by its lean
            cosine = cosine * _COS[below]
        else:  # the triangle inequality: angles add up at most
            cosine = cosine * _COS[below] - math.sqrt(1.0 - cosine * cosine) * _SIN[below]
        least = min(least, _SINH[below] / _COSH[below] * cosine)
    return least


def _normal(depth: int, axis: Doubles, margin: float) -> Doubles:
    """Return the half-space's normal (17,) for plain inner products; its threshold is 0."""
    if depth == 0:  # everything has a positive time coordinate
        return np.concatenate([[1.0], axis])
    if depth == MAX_DEPTH:  # and nothing a negative one
        return np.concatenate([[-1.0], np.zeros_like(axis)])
    return np.concatenate([[margin - _reach(depth)], axis])
