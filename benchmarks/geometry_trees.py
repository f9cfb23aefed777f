"""Free points of a static tree, hyperbolic beside flat: how much of the tree their distances tell.

No map from texts and no generalisation: each concept has a point of its own, moved until its kin
(whatever stands above or under it) are nearer than all others. Both geometries have the same loss,
order, steps and learning rate; flat points aren't clipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from geometry_tasks import precision
from timing import tell
from torch import Tensor
from wordnet import branch

from forgetnet.heads.hierarchy import Hierarchy
from forgetnet.heads.pairs import pair_distance
from forgetnet.heads.points import embed_tree, settle

DIMS = (3, 5, 8, 16, 32, 64, 128)
CARNIVORES = "02077948-n"
STEPS, RATE = 600, 0.05
Found = Mapping[tuple[str, int], list[float]]


def flat_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return Euclidean distances (n, m)."""
    square = a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2.0 * a @ b.T
    return square.clamp_min(1e-12).sqrt()


def flat_points(hierarchy: Hierarchy, dim: int, seed: int) -> Tensor:
    """Do what ``embed_tree`` does, in flat space and by plain Adam."""
    draw = torch.Generator().manual_seed(seed)
    start = 1e-3 * torch.randn(len(hierarchy), dim, generator=draw, dtype=torch.float64)
    points = torch.nn.Parameter(start)
    optimiser = torch.optim.Adam([points], RATE)
    settle(hierarchy, lambda: points, flat_distance, optimiser, steps=STEPS, seed=seed)
    return points.detach()


def told(hierarchy: Hierarchy, away: Tensor) -> float:
    """Return the mean average precision of a concept's kin among all others, by distance."""
    kin = np.zeros((len(hierarchy), len(hierarchy)), np.bool_)
    above, below = hierarchy.pairs().T
    kin[above, below] = kin[below, above] = True
    return precision(-away.fill_diagonal_(torch.inf), kin)


def measured(data: Path, seeds: int, kept: Path) -> Found:
    """Measure what isn't in the file yet; return everything, by space and dimension."""
    lines = kept.read_text().splitlines() if kept.exists() else []
    rows = [json.loads(line) for line in lines]
    known = {(row["seed"], row["space"], row["dim"]): row["map"] for row in rows}
    tree = branch(data / "wordnet" / "oewn_nouns.jsonl.gz", CARNIVORES)
    found: dict[tuple[str, int], list[float]] = {}
    for seed in range(seeds):
        for dim in DIMS:
            for space in ("hyperbolic", "flat"):
                if (seed, space, dim) not in known:
                    if space == "flat":
                        points = flat_points(tree, dim, seed)
                        away = flat_distance(points, points)
                    else:
                        made = embed_tree(tree, dim, steps=STEPS, rate=RATE, seed=seed)
                        points = torch.from_numpy(made)
                        away = pair_distance(points, points)
                    known[seed, space, dim] = told(tree, away)
                    row = {"seed": seed, "space": space, "dim": dim}
                    with kept.open("a") as file:
                        file.write(json.dumps({**row, "map": known[seed, space, dim]}) + "\n")
                    tell(f"seed {seed}, {space} {dim}: {known[seed, space, dim]:.3f}")
                found.setdefault((space, dim), []).append(known[seed, space, dim])
    return found
