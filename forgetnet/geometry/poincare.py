"""The Poincare ball, as pure functions on torch tensors: the model to draw in.

A point is (..., d) with c |x|^2 < 1; the curvature is -c (geoopt's names and conventions). A
tangent vector at x is measured by the conformal factor 2 / (1 - c |x|^2), so one at the origin is
half as long as the same tangent in ``lorentz``, where k = 1/c. Float32 crowds the rim: distances
are off by 6e-3 at radius 6 and by whole units at 8. Compute in ``lorentz``, and come here to draw.

Equations: Ganea, Becigneul and Hofmann, "Hyperbolic neural networks" (2018), 2.3 to 2.4.

Knows of no data and no parameters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from forgetnet.errors import InvalidRecord
from forgetnet.geometry import MAX_RADIUS

__all__ = [
    "assert_point",
    "check_point",
    "dist",
    "dist0",
    "expmap",
    "expmap0",
    "lambda_x",
    "logmap",
    "logmap0",
    "lorentz_to_poincare",
    "mobius_add",
    "poincare_to_lorentz",
    "projx",
    "transp0",
]

_SERIES = 1e-5  # squared argument below which three terms of a series are exact to float64


def lambda_x(x: Tensor, *, c: float) -> Tensor:
    """Return the conformal factor 2 / (1 - c |x|^2) of points (..., d), as (..., 1)."""
    return 2.0 / _rim(x, c)


def projx(x: Tensor, *, c: float, limit: float = MAX_RADIUS) -> Tensor:
    """Pull what lies beyond radius ``limit`` (in units of 1/sqrt(c)) back onto it; (..., d)."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    most = math.tanh(limit / 2.0) / math.sqrt(c)
    return torch.where(length > most, x * (most / torch.where(length > most, length, 1.0)), x)


def mobius_add(x: Tensor, y: Tensor, *, c: float) -> Tensor:
    """Return the Mobius sum x + y of points (..., d); it neither commutes nor associates."""
    product = (x * y).sum(-1, keepdim=True)
    x2, y2 = x.square().sum(-1, keepdim=True), y.square().sum(-1, keepdim=True)
    above = (1.0 + 2.0 * c * product + c * y2) * x + (1.0 - c * x2) * y
    return above / (1.0 + 2.0 * c * product + c * c * x2 * y2)


def expmap0(u: Tensor, *, c: float) -> Tensor:
    """Walk from the origin along tangents (..., d); the point lies at radius 2 |u|."""
    return u * _tanhc(c * u.square().sum(-1, keepdim=True))


def logmap0(y: Tensor, *, c: float) -> Tensor:
    """Return the tangents (..., d) at the origin that lead to points (..., d)."""
    return y * _artanhc(c * y.square().sum(-1, keepdim=True))


def expmap(x: Tensor, u: Tensor, *, c: float) -> Tensor:
    """Walk from ``x`` along tangent vectors ``u`` at ``x``; all (..., d)."""
    return mobius_add(x, expmap0(u * lambda_x(x, c=c) / 2.0, c=c), c=c)


def logmap(x: Tensor, y: Tensor, *, c: float) -> Tensor:
    """Return the tangent vectors at ``x`` that lead to ``y``; all (..., d)."""
    return logmap0(mobius_add(-x, y, c=c), c=c) * 2.0 / lambda_x(x, c=c)


def dist(x: Tensor, y: Tensor, *, c: float) -> Tensor:
    """Return the distance (...) between points (..., d).

    sinh(sqrt(c) d / 2)^2 = c |x - y|^2 / ((1 - c |x|^2) (1 - c |y|^2)). The gradient is finite, and
    zero where the points coincide.
    """
    square = c * (x - y).square().sum(-1) / (_rim(x, c) * _rim(y, c))[..., 0]
    positive = square > 0.0
    root = torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
    return 2.0 / math.sqrt(c) * torch.asinh(root)


def dist0(x: Tensor, *, c: float) -> Tensor:
    """Return the radius (...) of points (..., d): their distance from the origin."""
    root = math.sqrt(c)
    return 2.0 / root * torch.atanh(root * torch.linalg.vector_norm(x, dim=-1))


def transp0(y: Tensor, v: Tensor, *, c: float) -> Tensor:
    """Carry tangents ``v`` from the origin to ``y``; all (..., d)."""
    return v * _rim(y, c)


def lorentz_to_poincare(x: Tensor, *, k: float) -> Tensor:
    """Map points (..., d + 1) of the Lorentz model to the ball (..., d) of curvature -1/k."""
    root = math.sqrt(k)
    return x[..., 1:] * (root / (x[..., :1] + root))


def poincare_to_lorentz(x: Tensor, *, c: float) -> Tensor:
    """Map points (..., d) of the ball to the Lorentz model (..., d + 1) with k = 1/c."""
    rim = _rim(x, c)
    return torch.cat([(2.0 - rim) / (math.sqrt(c) * rim), 2.0 * x / rim], -1)


def check_point(x: Tensor, *, c: float, limit: float = MAX_RADIUS) -> list[str]:
    """Return the reasons why ``x`` (..., d) are not points within ``limit``; none if they are."""
    if not x.is_floating_point():
        return [f"points are floating-point tensors, not {x.dtype}; convert them"]
    if x.ndim == 0 or x.shape[-1] < 1:
        return [f"points have at least one coordinate, not shape {tuple(x.shape)}"]
    if not bool(torch.isfinite(x).all()):
        return ["a coordinate is NaN or infinite; look for a point that left the ball"]
    most = math.tanh(limit / 2.0) * (1.0 + 8 * torch.finfo(x.dtype).eps)
    far = math.sqrt(c) * torch.linalg.vector_norm(x, dim=-1) > most
    if bool(far.any()):
        return [f"{int(far.sum())} points lie beyond radius {limit} or outside the ball; use projx"]
    return []


def assert_point(x: Tensor, *, c: float, limit: float = MAX_RADIUS) -> None:
    """Refuse what are not points of the ball within ``limit``.

    Raises:
        InvalidRecord: with the reasons of :func:`check_point`.
    """
    if reasons := check_point(x, c=c, limit=limit):
        raise InvalidRecord("; ".join(reasons))


def _rim(x: Tensor, c: float) -> Tensor:
    """Return 1 - c |x|^2 as a product, which loses least at the rim."""
    length: Tensor = math.sqrt(c) * torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return (1.0 - length) * (1.0 + length)


def _tanhc(square: Tensor) -> Tensor:
    """Return tanh(r) / r for r^2."""
    small = square < _SERIES
    root = torch.where(small, 1.0, square).sqrt()
    series = 1.0 - square / 3.0 + 2.0 * square.square() / 15.0
    return torch.where(small, series, torch.tanh(root) / root)


def _artanhc(square: Tensor) -> Tensor:
    """Return artanh(s) / s for s^2."""
    small = square < _SERIES
    root = torch.where(small, 1.0, square).sqrt()
    series = 1.0 + square / 3.0 + square.square() / 5.0
    return torch.where(small, series, torch.atanh(root) / root)
