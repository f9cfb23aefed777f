"""How often a half-space of places holds what isn't under its path, and whether it misses.

    python benchmarks/cones.py [--salts 3] [--topics 2000] [--only 1000]

For every tree and salt: all places, then for up to ``--topics`` topics of each depth (the last,
which has no half-space, excepted) one float32 inner product with every place. ``false`` counts the
(topic, place) pairs that the bare half-space captured wrongly, ``settled`` those that
``subtree_mask`` still captures, ``missed`` those that should have been inside, and ``rounding`` is
the largest error of a float32 product among the pairs inside, in units of 2^-24 cosh r: it can't
pass 18, and the margin, which has to hold the rounding of both points too, is 24. A missed pair
ends the script with an error. ``--only`` picks trees by a part of their name.

The last lines count by depth of the topic, and only the places below its parent but not below
itself: those among which a chance capture can happen, for all that was seen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forgetnet.geometry.codes import MAX_DEPTH, Path, cone, places, subtree_mask

UNIT = 2.0**-24
BLOCK = 64
FanOut = Callable[[int, np.random.Generator], int]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """Paths in preorder, so that a subtree is a range of rows: row i ends before ``end[i]``."""

    paths: list[Path]
    end: list[int]
    parent: list[int]


@dataclass
class Tally:
    """What one tree gave, over all salts."""

    nodes: int = 0
    topics: int = 0
    pairs: int = 0
    false: int = 0
    settled: int = 0
    missed: int = 0
    rounding: float = 0.0
    sisters: Counts = field(default_factory=lambda: np.zeros((3, MAX_DEPTH), np.int64))


def grow(fan_out: FanOut, rng: np.random.Generator) -> Tree:
    """Grow a tree whose nodes at depth l have ``fan_out(l)`` children each."""
    tree = Tree([], [], [])

    def node(path: Path, parent: int) -> None:
        row = len(tree.paths)
        tree.paths.append(path)
        tree.end.append(0)
        tree.parent.append(parent)
        for child in range(fan_out(len(path), rng)):
            node((*path, f"topic {child}"), row)
        tree.end[row] = len(tree.paths)

    node((), 0)
    return tree


def regular(*fan_outs: int) -> FanOut:
    """The same fan-out everywhere on a level."""
    return lambda depth, _: fan_outs[depth] if depth < len(fan_outs) else 0


def one_wide_level(level: int) -> FanOut:
    """Up to 3 children, and up to 1,000 on one level."""

    def fan_out(depth: int, rng: np.random.Generator) -> int:
        if depth >= MAX_DEPTH:
            return 0
        return int(rng.integers(500, 1001)) if depth == level else int(rng.integers(1, 4))

    return fan_out


TREES: dict[str, FanOut] = {
    "10^4": regular(10, 10, 10, 10),
    "18^4": regular(18, 18, 18, 18),
    "30^3": regular(30, 30, 30),
    "3^6": regular(3, 3, 3, 3, 3, 3),
    "7^6": regular(7, 7, 7, 7, 7, 7),
    "1000 x 10 x 10": regular(1000, 10, 10),
    "20000 x 5": regular(20_000, 5),
    "2 x 1000 x 5 x 5 x 2": regular(2, 1000, 5, 5, 2),
    "1 x 1 x 1000 x 10 x 5 x 2": regular(1, 1, 1000, 10, 5, 2),
    "1 x 1 x 1 x 1000 x 10 x 10": regular(1, 1, 1, 1000, 10, 10),
    "1 x 1 x 1 x 1 x 1000 x 300": regular(1, 1, 1, 1, 1000, 300),
    **{f"random, wide level {i + 1}": one_wide_level(i) for i in range(MAX_DEPTH)},
}


def look(tree: Tree, rows: Counts, salt: bytes, tally: Tally) -> None:
    """Add the products of the topics in ``rows`` with every place of the tree."""
    points = places(tree.paths, salt)
    cosh = points[:, 0].astype(np.float64)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        queries = np.stack([cone(tree.paths[row], salt).query for row in block])
        scores = points @ queries.T.astype(np.float32)
        inside = scores > 0.0
        for i, row in enumerate(block):
            own = slice(int(row), tree.end[row])
            captured = np.flatnonzero(inside[:, i])
            false = captured[(captured < own.start) | (captured >= own.stop)]
            tally.false += len(false)
            tally.missed += own.stop - own.start - (len(captured) - len(false))
            exact = points[own].astype(np.float64) @ queries[i]
            error = np.abs(scores[own, i] - exact) / cosh[own] / UNIT
            tally.rounding = max(tally.rounding, float(error.max()))
            settled = 0
            if len(false):
                settled = int(subtree_mask(points[false], tree.paths[row], salt).sum())
            tally.settled += settled
            above = tree.parent[row]
            beside = tree.end[above] - above - (own.stop - own.start)
            tally.sisters[:, len(tree.paths[row])] += (beside, len(false), settled)
            if i == 0 or len(false):
                mask = subtree_mask(points[own], tree.paths[row], salt)
                tally.missed += int((~mask).sum())
    tally.topics += len(rows)
    tally.pairs += len(rows) * len(points)
    tally.nodes += len(points)


def measure(fan_out: FanOut, salts: int, topics: int) -> Tally:
    """Look at one tree under several salts; a random tree is grown anew for each."""
    tally = Tally()
    for number in range(salts):
        rng = np.random.default_rng(number)
        tree = grow(fan_out, rng)
        depths = np.array([len(path) for path in tree.paths])
        chosen = []
        for depth in range(MAX_DEPTH):
            rows = np.flatnonzero(depths == depth)
            chosen.append(rng.choice(rows, min(topics, len(rows)), replace=False))
        look(tree, np.concatenate(chosen), f"salt of the benchmark {number}".encode(), tally)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--salts", type=int, default=3)
    parser.add_argument("--topics", type=int, default=2000)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(f"{'tree':<28}{'places':>9}{'topics':>8}{'pairs':>10}", end="")
    print(f"{'false':>7}{'settled':>9}{'missed':>8}{'rounding':>10}{'seconds':>9}")
    sisters = np.zeros((3, MAX_DEPTH), np.int64)
    for name, fan_out in TREES.items():
        if options.only not in name:
            continue
        start = time.perf_counter()
        t = measure(fan_out, options.salts, options.topics)
        print(f"{name:<28}{t.nodes:>9}{t.topics:>8}{t.pairs:>10.1e}", end="")
        print(f"{t.false:>7}{t.settled:>9}{t.missed:>8}{t.rounding:>10.1f}", end="")
        print(f"{time.perf_counter() - start:>9.0f}", flush=True)
        sisters += t.sisters
        if t.missed:
            raise SystemExit(f"{name}: {t.missed} places under a topic were missed")
    print(f"{'depth':<7}{'sisters':>10}{'false':>7}{'share':>10}{'settled':>9}")
    for depth in range(1, MAX_DEPTH):
        pairs, false, settled = sisters[:, depth].tolist()
        share = false / max(pairs, 1)
        print(f"{depth:<7}{pairs:>10.1e}{false:>7}{share:>10.1e}{settled:>9}")


if __name__ == "__main__":
    main()
