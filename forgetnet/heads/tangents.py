"""A linear map from an encoder's unit vectors to hyperbolic space, and angles there; NumPy alone.

A vector's answer has the same bits whatever else is asked. Knows nothing of what the weights were
learnt from.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.exact import CODE_BITS, Floats, digest_arrays, fix_weights, quantise

__all__ = ["LIMIT", "TangentMap", "Weights", "exterior_angles"]

LIMIT = 6.0
"""Largest radius: r becomes 6 tanh(r / 6)."""
_LARGEST = 2**CODE_BITS + 1

Weights = npt.NDArray[np.float32]


def exterior_angles(apexes: npt.ArrayLike, points: npt.ArrayLike) -> Floats:
    """Return the angles (n,) at apexes between the rays away from the origin and those to points.

    Both are tangents at the origin, (n, d) or (d,), curvature -1: the formula of
    ``lorentz.exterior_angle`` in float64, row by row. 0 is straight on, pi straight back. At the
    origin there is no way on, and the angle is taken from the first axis.
    """
    apex, x = np.broadcast_arrays(np.asarray(apexes, np.float64), np.asarray(points, np.float64))
    apex, x = np.atleast_2d(apex), np.atleast_2d(x)
    far, radius = np.sqrt((apex * apex).sum(axis=1)), np.sqrt((x * x).sum(axis=1))
    axis = np.where(far[:, None] > 0.0, apex, np.eye(1, apex.shape[1]))
    axis = axis / np.sqrt((axis * axis).sum(axis=1, keepdims=True))
    along = (x * axis).sum(axis=1)
    rest = x - along[:, None] * axis
    aside = np.sqrt((rest * rest).sum(axis=1))
    shrink = np.where(radius > 0.0, np.tanh(radius) / np.where(radius > 0.0, radius, 1.0), 1.0)
    found: Floats = np.arctan2(shrink * aside / np.cosh(far), shrink * along - np.tanh(far))
    return found


@dataclass(frozen=True, eq=False)
class TangentMap:
    """Weights that map vectors to tangents at the origin of the Lorentz model, curvature -1.

    Attributes:
        weight: (d, m) of the linear map.
        bias: (d,).
        encoder: digest of the encoder whose vectors it takes.

    Raises:
        InvalidRecord: the arrays don't fit each other, or aren't finite float32.
    """

    weight: Weights = field(repr=False)
    bias: Weights = field(repr=False)
    encoder: str

    def __post_init__(self) -> None:
        for name in ("weight", "bias"):
            given = getattr(self, name)
            if (
                not isinstance(given, np.ndarray)
                or given.dtype != np.float32
                or not np.isfinite(given).all()
            ):
                raise InvalidRecord("the weights of a head are finite float32 numbers")
            own = given.copy()  # nobody else's: what a digest was taken of changes no more
            own.flags.writeable = False
            object.__setattr__(self, name, own)
        weight, bias = self.weight, self.bias
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or not weight.size:
            raise InvalidRecord(
                f"a head has weights (d, m) and a bias (d,), not {weight.shape} and {bias.shape}"
            )

    @property
    def dim(self) -> int:
        """Numbers of a tangent."""
        return len(self.bias)

    @property
    def width(self) -> int:
        """Numbers of a vector that it takes."""
        return int(self.weight.shape[1])

    def digest(self) -> str:
        """Hash the weights."""
        return digest_arrays({"bias": self.bias, "weight": self.weight})

    @functools.cached_property
    def _fixed(self) -> tuple[Floats, Floats]:
        return fix_weights(self.weight.T.astype(np.float64), _LARGEST)

    def tangents(self, vectors: npt.ArrayLike) -> Floats:
        """Map (n, m) unit vectors to tangents (n, d) at the origin, within radius 6.

        The vectors are rounded to steps of 2^-12 and the weights to about 30 bits, so that the
        products are exact sums and a row's bits don't depend on the rows beside it.

        Raises:
            InvalidRecord: the vectors are of another dimension, or no unit vectors.
        """
        given = np.atleast_2d(np.asarray(vectors))
        if given.ndim != 2 or given.shape[1] != self.width:
            raise InvalidRecord(f"this head takes vectors of {self.width} numbers: {given.shape}")
        whole, step = self._fixed
        codes = quantise(given).astype(np.float64)
        flat = codes @ whole * (step * 2.0**-CODE_BITS) + self.bias.astype(np.float64)
        radius = np.sqrt((flat * flat).sum(axis=1, keepdims=True)) / LIMIT
        pull = np.where(radius > 0.0, np.tanh(radius) / np.where(radius > 0.0, radius, 1.0), 1.0)
        pulled: Floats = flat * pull
        return pulled
