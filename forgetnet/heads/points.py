"""Points for the concepts of a static, public tree: no map from texts, one free point each.

What hyperbolic space is best at: few numbers a point (``benchmarks/geometry.py``). The points stand
on the manifold, so they are moved by geoopt's Riemannian Adam; a head's weights are plain numbers,
for which it would be plain Adam. Knows nothing of encoders.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from forgetnet.declared import check_kind
from forgetnet.encode.contract import progress_bar
from forgetnet.errors import InvalidRecord
from forgetnet.exact import Floats
from forgetnet.experts.pinned import mix, pinned
from forgetnet.geometry import lorentz
from forgetnet.given import check_switches, number_of, whole_of
from forgetnet.heads.hierarchy import Hierarchy, Ints
from forgetnet.heads.pairs import pair_distance
from forgetnet.heads.tangents import LIMIT

__all__ = ["embed_tree", "settle"]

_ROWS = 256
_NEAR = 1e-3


def embed_tree(
    hierarchy: Hierarchy,
    dim: int,
    *,
    steps: int = 600,
    rate: float = 0.05,
    seed: int = 0,
    progress: bool = True,
) -> Floats:
    """Return tangents (n, d) of points whose distances tell who stands above whom.

    Nickel and Kiela, "Poincare embeddings for learning hierarchical representations" (2017), eq. 6,
    in the Lorentz model, with every other concept in the place of sampled negatives.

    Args:
        hierarchy: public and static.
        dim: numbers of a tangent.
        steps: each looks at the pairs of 256 concepts.
        rate: learning rate at the start; it falls as a cosine.
        seed: of start and order.
        progress: show a bar on long work, when the output is a terminal.

    Raises:
        InvalidRecord: nothing stands above anything, a setting makes no sense, or the points flew
            apart.
    """
    import geoopt

    check_switches(InvalidRecord, progress=progress)
    check_kind("hierarchy", hierarchy, Hierarchy, "Hierarchy.from_taxonomy(tree)")
    whole_of(seed, "seed", InvalidRecord, least=0)
    n, dim = len(hierarchy), whole_of(dim, "dim", InvalidRecord)
    steps = whole_of(steps, "steps", InvalidRecord)
    if not number_of(rate, "rate=", InvalidRecord):
        raise InvalidRecord(f"rate= is above 0, not {rate}")
    if not len(hierarchy.pairs()):
        raise InvalidRecord("nothing stands above anything here; a tree has edges")
    draw = torch.Generator().manual_seed(mix(seed, "points"))
    start = _NEAR * torch.randn(n, dim, generator=draw, dtype=torch.float64)
    sphere = geoopt.Lorentz(torch.tensor(1.0, dtype=torch.float64))
    points = geoopt.ManifoldParameter(lorentz.expmap0(start, k=1.0), manifold=sphere)

    def tangents() -> Tensor:
        return lorentz.logmap0(points, k=1.0)

    def pull() -> None:
        with torch.no_grad():
            points.copy_(lorentz.expmap0(_within(tangents()), k=1.0))

    optimiser = geoopt.optim.RiemannianAdam([points], lr=rate)
    with progress_bar(steps, shown=progress, told="Placing") as done:
        settle(
            hierarchy,
            tangents,
            pair_distance,
            optimiser,
            steps=steps,
            seed=seed,
            after=pull,
            done=done,
        )
    found: Floats = tangents().detach().numpy().copy()
    if not np.isfinite(found).all():
        raise InvalidRecord("the points flew apart; give a smaller rate=")
    return found


def settle(
    hierarchy: Hierarchy,
    points: Callable[[], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    steps: int,
    seed: int,
    after: Callable[[], None] = lambda: None,
    done: Callable[[int], None] = lambda _steps: None,
) -> None:
    """Move points until a concept's kin are nearer to it than all others, in any geometry.

    Args:
        hierarchy: says who is kin: who stands above or under whom, at any number of steps.
        points: returns the points (n, d) of now.
        distance: of (a, d) from (b, d), as (a, b).
        optimiser: moves them.
        steps: how many.
        seed: of the order.
        after: called after every step, to put right what it did.
        done: is told of every step.
    """
    kin = torch.zeros(len(hierarchy), len(hierarchy), dtype=torch.bool)
    above, below = hierarchy.pairs().T
    kin[above, below] = kin[below, above] = True
    own = torch.eye(len(hierarchy), dtype=torch.bool)
    rng = np.random.default_rng(mix(seed, "order"))
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    with pinned():
        for _ in range(steps):
            rows: Ints = rng.permutation(len(hierarchy))[:_ROWS]
            optimiser.zero_grad(set_to_none=True)
            now = points()
            away = distance(now[rows], now)
            lowest = torch.finfo(away.dtype).min / 4.0
            others = (-away).masked_fill(kin[rows] | own[rows], lowest).logsumexp(1, keepdim=True)
            lost = torch.nn.functional.softplus(others + away) * kin[rows]
            loss = lost.sum() / kin[rows].sum().clamp_min(1)
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it unannotated
            optimiser.step()
            after()
            fall.step()
            done(1)


def _within(tangents: Tensor) -> Tensor:
    """Put what lies beyond the largest radius back onto it."""
    radius = torch.linalg.vector_norm(tangents, dim=-1, keepdim=True)
    held: Tensor = tangents * (LIMIT / radius.clamp_min(LIMIT))
    return held
