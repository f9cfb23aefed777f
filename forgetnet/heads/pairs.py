"""Every pair of two sets of tangents at once: distances and exterior angles by one matrix product.

What training and ranking want: (n, m) numbers for the memory of (n, m), where the formulas of
``forgetnet.geometry.lorentz`` would want (n, m, d). The price is the cosine of nearly equal
directions, which float32 knows to about 3e-4 radians; a distance that is reported comes from
``lorentz.polar_dist``. Curvature is -1. Knows of no data.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pair_angle", "pair_distance"]

_TINY = 1e-12


def pair_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the hyperbolic distances (n, m) between the ends of tangents (n, d) and (m, d).

    sinh(d/2)^2 = sinh((a-b)/2)^2 + sinh a sinh b (1 - cos t) / 2, as in ``lorentz.polar_dist``.
    Where points coincide the gradient is finite.
    """
    near, far, cosine = _polar(a, b)
    apart = torch.sinh(near) * torch.sinh(far) * (1.0 - cosine) / 2.0
    half = (torch.sinh((near - far) / 2.0).square() + apart).clamp_min(_TINY)
    return 2.0 * torch.asinh(half.sqrt())


def pair_angle(apex: Tensor, x: Tensor) -> Tensor:
    """Return the exterior angles (n, m) at apexes (n, d) of points (m, d), in radians.

    0 is straight away from the origin, pi straight back; see ``lorentz.exterior_angle``.
    """
    far, radius, cosine = _polar(apex, x)
    shrink = torch.tanh(radius)
    sine = (1.0 - cosine.square()).clamp_min(_TINY).sqrt()
    return torch.atan2(shrink * sine / torch.cosh(far), shrink * cosine - torch.tanh(far))


def _polar(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return radii (n, 1) and (1, m), and the cosines (n, m) between directions."""
    near = a.square().sum(-1).clamp_min(_TINY).sqrt()
    far = b.square().sum(-1).clamp_min(_TINY).sqrt()
    cosine = (a / near[:, None]) @ (b / far[:, None]).T
    return near[:, None], far[None], cosine.clamp(-1.0, 1.0)
