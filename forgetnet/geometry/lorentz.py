"""The Lorentz model of hyperbolic space, as pure functions on torch tensors.

A point is (..., d + 1), time coordinate first, with <x, x> = -k and positive time; the curvature is
-1/k (the ``k`` and the names are geoopt's, against which the tests hold these formulas). A tangent
vector at the origin is (..., d): its time coordinate is always zero and is left out. Lengths are
those of the metric, so the radius of a point is sqrt(k) times an angle.

Equations: Nickel and Kiela, "Learning continuous hierarchies in the Lorentz model of hyperbolic
geometry" (2018), 2.2; Law et al., "Lorentzian distance learning for hyperbolic representations"
(2019) for the centroid. Distances are computed from radii and directions, which float32 bears at
every radius to 40; whatever subtracts points (``logmap``, ``proju``, ``transp``) loses e^(2r) units
of rounding and wants float64. Tangents are what one stores, averages and quantises.

Knows of no data and no parameters; curvature is an argument, never learned here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from forgetnet.errors import InvalidRecord
from forgetnet.geometry import MAX_RADIUS

__all__ = [
    "assert_point",
    "busemann",
    "centroid",
    "check_point",
    "clip_radius",
    "dist",
    "dist0",
    "expmap",
    "expmap0",
    "exterior_angle",
    "inner",
    "logmap",
    "logmap0",
    "norm",
    "polar_dist",
    "proju",
    "projx",
    "transp",
    "transp0",
]

_SERIES = 1e-5  # squared argument below which three terms of a series are exact to float64
_NEAR_ORIGIN = 1e-2  # radius below which a direction is too uncertain to be divided out


def inner(u: Tensor, v: Tensor, *, keepdim: bool = False) -> Tensor:
    """Return the Minkowski product -u0 v0 + u1 v1 + ... of (..., d + 1) vectors, as (...)."""
    product = u * v
    return product[..., 1:].sum(-1, keepdim=keepdim) - (
        product[..., :1] if keepdim else product[..., 0]
    )


def norm(u: Tensor, *, keepdim: bool = False) -> Tensor:
    """Return the length (...) of tangent vectors (..., d + 1); their product is never negative."""
    return _sqrt(inner(u, u, keepdim=keepdim))


def projx(x: Tensor, *, k: float) -> Tensor:
    """Return the points (..., d + 1) whose space part is that of ``x``."""
    return _point(x[..., 1:], k)


def proju(x: Tensor, v: Tensor, *, k: float) -> Tensor:
    """Return the part of ambient vectors ``v`` that is tangent at ``x``; all (..., d + 1)."""
    return v + inner(x, v, keepdim=True) / k * x


def expmap0(u: Tensor, *, k: float) -> Tensor:
    """Walk from the origin along tangents (..., d); return points (..., d + 1).

    Of a unit vector this is a point at radius 1, whatever the vector: it ranks as the cosine does.
    """
    return _point(u * _sinhc(u.square().sum(-1, keepdim=True) / k), k)


def logmap0(y: Tensor, *, k: float) -> Tensor:
    """Return the tangents (..., d) at the origin that lead to points (..., d + 1)."""
    space = y[..., 1:]
    return space * _asinhc(space.square().sum(-1, keepdim=True) / k)


def expmap(x: Tensor, u: Tensor, *, k: float) -> Tensor:
    """Walk from ``x`` along tangent vectors ``u`` at ``x``; all (..., d + 1)."""
    square = inner(u, u, keepdim=True).clamp_min(0.0) / k
    sinhc = _sinhc(square)
    return projx((1.0 + square * sinhc.square()).sqrt() * x + sinhc * u, k=k)


def logmap(x: Tensor, y: Tensor, *, k: float) -> Tensor:
    """Return the tangent vectors at ``x`` that lead to ``y``; all (..., d + 1)."""
    half = (dist(x, y, k=k) / (2.0 * math.sqrt(k)))[..., None]
    cosh_less_1 = 2.0 * torch.sinh(half).square()  # cosh(d) - 1, without the difference
    return (y - x - cosh_less_1 * x) / _sinhc(4.0 * half.square())


def dist(x: Tensor, y: Tensor, *, k: float) -> Tensor:
    """Return the distance (...) between points (..., d + 1), from their space parts alone.

    Its gradient is finite everywhere, and zero where the points coincide.
    """
    return polar_dist(logmap0(x, k=k), logmap0(y, k=k), k=k)


def dist0(x: Tensor, *, k: float) -> Tensor:
    """Return the radius (...) of points (..., d + 1): their distance from the origin."""
    root = math.sqrt(k)
    return root * torch.asinh(torch.linalg.vector_norm(x[..., 1:], dim=-1) / root)


def polar_dist(a_tangent: Tensor, b_tangent: Tensor, *, k: float) -> Tensor:
    """Return the distance (...) between the points at the ends of tangents (..., d) at the origin.

    With radii a, b and unit directions u, v (and k = 1):
    d = 2 asinh sqrt(sinh((a-b)/2)^2 + sinh a sinh b |u-v|^2 / 4), the haversine formula of the
    hyperbolic plane. No large numbers are subtracted, so float32 serves at every radius to 40. Near
    the origin, where directions fade, |u-v|^2 a b = |au-bv|^2 - (a-b)^2 takes their place, and the
    gradient there is right too; where the points coincide it is zero.
    """
    root = math.sqrt(k)
    a_tangent, b_tangent = a_tangent / root, b_tangent / root
    a = torch.linalg.vector_norm(a_tangent, dim=-1)
    b = torch.linalg.vector_norm(b_tangent, dim=-1)
    far = (
        torch.sinh(a) * torch.sinh(b) * (_unit(a_tangent, a) - _unit(b_tangent, b)).square().sum(-1)
    )
    gap = (a_tangent - b_tangent).square().sum(-1) - (a - b).square()
    near = _sinhc(a.square()) * _sinhc(b.square()) * gap
    apart = torch.where(torch.minimum(a, b) < _NEAR_ORIGIN, near, far)
    return 2.0 * root * torch.asinh(_sqrt(torch.sinh((a - b) / 2.0).square() + apart / 4.0))


def exterior_angle(apex_tangent: Tensor, x_tangent: Tensor, *, k: float) -> Tensor:
    """Return the angle (...) at one point between the ray away from the origin and that to another.

    Both are the ends of tangents (..., d) at the origin. With radii a, r and the angle t between
    the directions (and k = 1) it is atan2(tanh r sin t / cosh a, tanh r cos t - tanh a), which
    equals the arc cosine of Desai et al., "Hyperbolic image-text representations" (2023), and needs
    no clamping: 0 is straight on, pi straight back to the origin.
    """
    root = math.sqrt(k)
    apex_tangent, x_tangent = apex_tangent / root, x_tangent / root
    far = torch.linalg.vector_norm(apex_tangent, dim=-1)
    axis = apex_tangent / far.clamp_min(1e-12)[..., None]
    along = (x_tangent * axis).sum(-1)
    aside = torch.linalg.vector_norm(x_tangent - along[..., None] * axis, dim=-1)
    radius = torch.linalg.vector_norm(x_tangent, dim=-1).clamp_min(1e-12)
    shrink = torch.tanh(radius) / radius
    return torch.atan2(shrink * aside / torch.cosh(far), shrink * along - torch.tanh(far))


def busemann(direction: Tensor, x_tangent: Tensor, *, k: float) -> Tensor:
    """Return how far (...) points are from an ideal point, less how far the origin is.

    The ideal point is where the ray along ``direction`` (..., d) ends; points are the ends of
    tangents (..., d) at the origin. With radius r and the angle t to the ray (and k = 1) it is
    log(cosh r - sinh r cos t), as log(e^r sin(t/2)^2 + e^-r cos(t/2)^2), which subtracts nothing:
    -r on the ray, r on the opposite one. In the Poincare ball this is log(|p - z|^2 / (1 - |z|^2)).
    """
    root = math.sqrt(k)
    radius = torch.linalg.vector_norm(x_tangent, dim=-1) / root
    ideal = _unit(direction, torch.linalg.vector_norm(direction, dim=-1))
    there = _unit(x_tangent, torch.linalg.vector_norm(x_tangent, dim=-1))
    away = ((ideal - there).square().sum(-1) / 4.0).clamp(0.0, 1.0)  # sin(t/2)^2
    return root * torch.log(torch.exp(radius) * away + torch.exp(-radius) * (1.0 - away))


def transp(x: Tensor, y: Tensor, v: Tensor, *, k: float) -> Tensor:
    """Carry tangent vectors ``v`` from ``x`` to ``y`` along the geodesic; all (..., d + 1)."""
    return v + inner(y, v, keepdim=True) / (k - inner(x, y, keepdim=True)) * (x + y)


def transp0(y: Tensor, v: Tensor, *, k: float) -> Tensor:
    """Carry tangents ``v`` (..., d) from the origin to ``y`` (..., d + 1); return (..., d + 1).

    This is the boost that takes the origin to ``y``, applied to ``v``.
    """
    root = math.sqrt(k)
    time, space = y[..., :1], y[..., 1:]
    along = (space * v).sum(-1, keepdim=True)
    return torch.cat([along / root, v + along / (k + root * time) * space], -1)


def centroid(x: Tensor, weights: Tensor | None = None, *, k: float) -> Tensor:
    """Return the Lorentz centroid (..., d + 1) of points (..., n, d + 1): their normalised sum.

    A sum, so a point can be taken out again; a Frechet mean is none. Sum in float64, or better in
    integers: normalising loses e^(2r) units of rounding.

    Args:
        x: points.
        weights: (..., n), not negative and not all zero; None for ones.
        k: minus one over the curvature.
    """
    total = x.sum(-2) if weights is None else (weights[..., None] * x).sum(-2)
    time, space = total[..., :1], total[..., 1:]
    length = torch.linalg.vector_norm(space, dim=-1, keepdim=True)
    scale = math.sqrt(k) / ((time - length) * (time + length)).sqrt()
    return _point(space * scale, k)


def clip_radius(u: Tensor, *, k: float, limit: float = MAX_RADIUS) -> Tensor:
    """Pull tangents (..., d) smoothly inside a radius, ``limit`` times sqrt(k).

    r becomes R tanh(r / R) with R = limit sqrt(k): 3 becomes 2.87 at the default limit.
    """
    square = u.square().sum(-1, keepdim=True) / (k * limit * limit)
    small = square < _SERIES
    root = torch.where(small, 1.0, square).sqrt()
    series = 1.0 - square / 3.0 + 2.0 * square.square() / 15.0
    return u * torch.where(small, series, torch.tanh(root) / root)


def check_point(x: Tensor, *, k: float, limit: float = MAX_RADIUS) -> list[str]:
    """Return the reasons why ``x`` (..., d + 1) are not points within ``limit``; none if they are.

    The time coordinate may be off by 32 units of rounding, which a few operations explain.
    """
    if not x.is_floating_point():
        return [f"points are floating-point tensors, not {x.dtype}; convert them"]
    if x.ndim == 0 or x.shape[-1] < 2:
        return [f"points have a time and at least one space coordinate, not shape {tuple(x.shape)}"]
    if not bool(torch.isfinite(x).all()):
        return ["a coordinate is NaN or infinite; look for a radius that overflowed"]
    reasons = []
    time = projx(x, k=k)[..., 0]
    off = (x[..., 0] - time).abs() > 32 * torch.finfo(x.dtype).eps * time
    if bool(off.any()):
        reasons.append(f"{int(off.sum())} points are off the hyperboloid <x, x> = -{k}; use projx")
    far = dist0(x, k=k) > limit * math.sqrt(k) * (1.0 + 8 * torch.finfo(x.dtype).eps)
    if bool(far.any()):
        reasons.append(f"{int(far.sum())} points lie beyond radius {limit}; use clip_radius")
    return reasons


def assert_point(x: Tensor, *, k: float, limit: float = MAX_RADIUS) -> None:
    """Refuse what are not points of the model within ``limit``.

    Raises:
        InvalidRecord: with the reasons of :func:`check_point`.
    """
    if reasons := check_point(x, k=k, limit=limit):
        raise InvalidRecord("; ".join(reasons))


def _point(space: Tensor, k: float) -> Tensor:
    time = (k + space.square().sum(-1, keepdim=True)).sqrt()
    return torch.cat([time, space], -1)


def _sqrt(x: Tensor) -> Tensor:
    """Square root whose gradient at zero is zero, and that takes what rounding left below it."""
    positive = x > 0.0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


def _unit(u: Tensor, length: Tensor) -> Tensor:
    return u / torch.where(length > 0.0, length, 1.0)[..., None]


def _sinhc(square: Tensor) -> Tensor:
    """Return sinh(r) / r for r^2."""
    small = square < _SERIES
    root = torch.where(small, 1.0, square).sqrt()
    series = 1.0 + square / 6.0 + square.square() / 120.0
    return torch.where(small, series, torch.sinh(root) / root)


def _asinhc(square: Tensor) -> Tensor:
    """Return asinh(s) / s for s^2."""
    small = square < _SERIES
    root = torch.where(small, 1.0, square).sqrt()
    series = 1.0 - square / 6.0 + 3.0 * square.square() / 40.0
    return torch.where(small, series, torch.asinh(root) / root)
