"""The flat rivals of the hyperbolic head, trained by the same loss, and those not trained at all.

Knows no tasks. Every space keeps d numbers of a record; ``two cosines`` keeps those of its second
head, and asks with the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from material import Floats
from torch import Tensor, nn

from forgetnet.heads.fit import LorentzMap

TINY = 1e-12


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosines (n, m) of rows."""
    return nn.functional.normalize(a, dim=1) @ nn.functional.normalize(b, dim=1).T


def _linear(width: int, dim: int, draw: torch.Generator) -> nn.Linear:
    """Make the same start as the hyperbolic head's: unit vectors begin at about length 1."""
    made = nn.Linear(width, dim)
    with torch.no_grad():
        made.weight.copy_(torch.randn(dim, width, generator=draw) / math.sqrt(dim))
        made.bias.zero_()
    return made


class FlatCone(nn.Module):
    """Entailment cones in flat space, unclipped: distance for near, exterior angle for under."""

    def __init__(self, width: int, dim: int, draw: torch.Generator) -> None:
        super().__init__()
        self.map = _linear(width, dim, draw)

    def upper(self, vectors: Tensor) -> Tensor:
        """Map concepts."""
        mapped: Tensor = self.map(vectors)
        return mapped

    lower = upper

    def near(self, upper: Tensor, lower: Tensor) -> Tensor:
        """Score by minus the distance."""
        square = upper.square().sum(1)[:, None] + lower.square().sum(1)[None] - 2 * upper @ lower.T
        return -square.clamp_min(TINY).sqrt()

    def under(self, upper: Tensor, lower: Tensor) -> Tensor:
        """Score by minus the angle at the concept."""
        far = torch.linalg.vector_norm(upper, dim=1)[:, None]
        radius = torch.linalg.vector_norm(lower, dim=1)[None]
        turn = cosine(upper, lower).clamp(-1.0, 1.0)
        aside = radius * (1.0 - turn.square()).clamp_min(TINY).sqrt()
        return -torch.atan2(aside, radius * turn - far)


class OneCosine(nn.Module):
    """One head, one cosine for everything."""

    def __init__(self, width: int, dim: int, draw: torch.Generator) -> None:
        super().__init__()
        self.map = _linear(width, dim, draw)

    def upper(self, vectors: Tensor) -> Tensor:
        """Map concepts."""
        mapped: Tensor = self.map(vectors)
        return mapped

    lower = upper

    def near(self, upper: Tensor, lower: Tensor) -> Tensor:
        """Score by the cosine."""
        return cosine(upper, lower)

    under = near


class TwoCosines(OneCosine):
    """A head for what asks and another for what is stored: a direction, without any curvature."""

    def __init__(self, width: int, dim: int, draw: torch.Generator) -> None:
        super().__init__(width, dim, draw)
        self.stored = _linear(width, dim, draw)

    def lower(self, vectors: Tensor) -> Tensor:
        """Map records."""
        mapped: Tensor = self.stored(vectors)
        return mapped


class Fixed(OneCosine):
    """A map that isn't trained on the hierarchy."""

    def __init__(self, mapped: Callable[[Tensor], Tensor]) -> None:
        nn.Module.__init__(self)
        self.mapped = mapped

    def upper(self, vectors: Tensor) -> Tensor:
        """Map concepts."""
        return self.mapped(vectors)

    lower = upper


TRAINED: dict[str, Callable[[int, int, torch.Generator], nn.Module]] = {
    "hyperbolic": LorentzMap,
    "flat cone": FlatCone,
    "one cosine": OneCosine,
    "two cosines": TwoCosines,
}


def principal(vectors: Floats, dim: int) -> Fixed:
    """Return the map to the first principal components of some vectors."""
    mean = vectors.mean(axis=0)
    spread = np.cov((vectors - mean).T.astype(np.float64))
    _, axes = np.linalg.eigh(spread)
    kept = torch.from_numpy(np.ascontiguousarray(axes[:, ::-1][:, :dim]).astype(np.float32))
    middle = torch.from_numpy(mean)
    return Fixed(lambda x: (x - middle) @ kept)


def raw() -> Fixed:
    """Return the encoder's own vectors, in one byte a number."""
    return Fixed(lambda x: torch.round(x * (127.0 / x.abs().amax(dim=1, keepdim=True))))
