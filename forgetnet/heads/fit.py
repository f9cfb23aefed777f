"""Training of a linear head on a hierarchy; the geometry is an argument.

What is minimised, with s, c and b learnt scales, n names, g glosses and a the concepts above:
InfoNCE on s near(n, g), both ways (van den Oord et al. 2018); the same on c under(a, g), where a
record has several concepts above it and a concept several records, and each of them stands against
what is wrong alone; and half of a balanced binary cross-entropy on b under(a, g), which tells what
is under a concept from what isn't.

Knows nothing of files, encoders or records of users.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from forgetnet.experts.pinned import mix, pinned
from forgetnet.geometry import lorentz
from forgetnet.heads.hierarchy import Hierarchy
from forgetnet.heads.lesson import Ints, Lesson
from forgetnet.heads.pairs import pair_angle, pair_distance
from forgetnet.heads.tangents import LIMIT

__all__ = ["LorentzMap", "Space", "fit"]

_EDGES = 0.5  # weight of telling pairs apart
_SCALE = 10.0
_MOST = math.log(100.0)


class Space(Protocol):
    """Two maps from vectors, and how what they make is compared: a geometry to be trained."""

    def upper(self, vectors: Tensor) -> Tensor:
        """Map (n, m) vectors of concepts."""
        ...

    def lower(self, vectors: Tensor) -> Tensor:
        """Map (n, m) vectors of records."""
        ...

    def near(self, upper: Tensor, lower: Tensor) -> Tensor:
        """Return (n, k) scores of belonging together, larger for nearer."""
        ...

    def under(self, upper: Tensor, lower: Tensor) -> Tensor:
        """Return (n, k) scores of standing under, larger for deeper inside."""
        ...


class LorentzMap(nn.Module):
    """A linear map to tangents of the Lorentz model, pulled inside of a radius of 6.

    Args:
        width: of the vectors.
        dim: of the tangents.
        generator: draws the start, so that unit vectors begin at about radius 1.
    """

    def __init__(self, width: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        start = torch.randn(dim, width, generator=generator) / math.sqrt(dim)
        self.weight = nn.Parameter(start)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, width) vectors to (n, dim) tangents."""
        return lorentz.clip_radius(vectors @ self.weight.T + self.bias, k=1.0, limit=LIMIT)

    def upper(self, vectors: Tensor) -> Tensor:
        """Map concepts."""
        return self.forward(vectors)

    def lower(self, vectors: Tensor) -> Tensor:
        """Map records, just so."""
        return self.forward(vectors)

    def near(self, upper: Tensor, lower: Tensor) -> Tensor:
        """Score pairs by minus the hyperbolic distance."""
        return -pair_distance(upper, lower)

    def under(self, upper: Tensor, lower: Tensor) -> Tensor:
        """Score pairs by minus the exterior angle at the concept."""
        return -pair_angle(upper, lower)


class _Scales(nn.Module):
    """What scores are multiplied with, and where inside begins; learnt, and not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.logs = nn.Parameter(torch.full((3,), math.log(_SCALE)))
        self.edge = nn.Parameter(torch.zeros(()))

    def scale(self, which: int) -> Tensor:
        return self.logs[which].clamp_max(_MOST).exp()


def fit(
    space: Space,
    parameters: list[nn.Parameter],
    hierarchy: Hierarchy,
    names: npt.NDArray[np.float32],
    glosses: npt.NDArray[np.float32],
    *,
    taught: Ints,
    steps: int,
    lr: float,
    seed: int,
    groups: int = 64,
    siblings: int = 4,
    turns: bool = False,
    done: Callable[[int], None] = lambda _steps: None,
) -> None:
    """Train in place, by Adam with a cosine's fall of the learning rate, on one thread.

    Args:
        space: the geometry, with its maps.
        parameters: of the maps.
        hierarchy: to learn from.
        names: (n, m) vectors of the names.
        glosses: (n, m) vectors of the glosses.
        taught: positions of the concepts that may be looked at as records.
        steps: how many.
        lr: learning rate at the start.
        seed: of the batches.
        groups: of siblings in a batch.
        siblings: at most so many of a group.
        turns: whether a concept is told by its name and by its gloss in turn, and a record by the
            other; else concepts are names, and records glosses.
        done: is told of every step.

    Raises:
        InvalidRecord: there is nothing to learn from.
    """
    lesson = Lesson(hierarchy, taught, groups, siblings)
    called, said = torch.from_numpy(names), torch.from_numpy(glosses)
    rng = np.random.default_rng(mix(seed, "batches"))
    with pinned():
        scales = _Scales()
        optimiser = torch.optim.Adam([*parameters, *scales.parameters()], lr)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            batch = lesson.batch(rng)
            asking, told = (said, called) if turns and step % 2 else (called, said)
            lower = space.lower(told[batch.records])
            optimiser.zero_grad(set_to_none=True)
            near = space.near(space.upper(asking[batch.records]), lower)
            loss = _belonging(scales.scale(0) * near)
            inside = torch.from_numpy(batch.inside)
            under = space.under(space.upper(asking[batch.above]), lower)
            loss = loss + _standing(scales.scale(1) * under, inside)
            loss = loss + _EDGES * _edges(scales.scale(2) * (under + scales.edge), inside)
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it unannotated
            optimiser.step()
            fall.step()
            done(1)


def _belonging(scores: Tensor) -> Tensor:
    right = torch.arange(len(scores))
    ways = functional.cross_entropy(scores, right) + functional.cross_entropy(scores.T, right)
    return ways / 2.0


def _standing(scores: Tensor, inside: Tensor) -> Tensor:
    return (_several(scores, inside) + _several(scores.T, inside.T)) / 2.0


def _several(scores: Tensor, inside: Tensor) -> Tensor:
    """Mean over rows of -log of a positive's share among itself and all negatives of the row."""
    count = inside.sum(dim=1)
    wrong = scores.masked_fill(inside, torch.finfo(scores.dtype).min / 4.0)
    lost = functional.softplus(wrong.logsumexp(dim=1, keepdim=True) - scores) * inside
    each = lost.sum(dim=1) / count.clamp_min(1)
    return each.sum() / (count > 0).sum().clamp_min(1)


def _edges(scores: Tensor, inside: Tensor) -> Tensor:
    lost = functional.binary_cross_entropy_with_logits(scores, inside.float(), reduction="none")
    yes, no = inside.sum().clamp_min(1), (~inside).sum().clamp_min(1)
    return ((lost * inside).sum() / yes + (lost * ~inside).sum() / no) / 2.0
