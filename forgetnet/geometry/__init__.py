"""Hyperbolic geometry: pure functions, in which nothing is learned.

``lorentz`` and ``poincare`` are the two models of hyperbolic space on torch tensors, with the
curvature as an argument; ``codes`` turns a topic path into a point, with NumPy alone. This floor
knows nothing of records, stores or encoders. The package imports none of the three by itself, so
that whoever needs the codes doesn't wait for torch.
"""

from __future__ import annotations

__all__ = ["MAX_RADIUS"]

MAX_RADIUS = 8.0
"""Farthest distance from the origin, in units of the curvature radius, at which float32
coordinates still tell a subtree from its neighbours."""
