"""Free points of a tree: near to kin, within the radius, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from forgetnet.errors import InvalidRecord
from forgetnet.heads import Hierarchy, embed_tree
from forgetnet.heads.pairs import pair_distance
from tests.heads.kinship import made


def test_kin_are_nearer_than_strangers() -> None:
    tangents = torch.from_numpy(embed_tree(made(), 3, steps=200, progress=False))
    away = pair_distance(tangents, tangents).numpy()
    kin = np.zeros_like(away, dtype=bool)
    above, below = made().pairs().T
    kin[above, below] = kin[below, above] = True
    strange = ~kin & ~np.eye(len(away), dtype=bool)
    right = [away[row][kin[row], None] < away[row][None, strange[row]] for row in range(len(away))]
    assert np.mean([each.mean() for each in right]) > 0.95
    assert float(torch.linalg.vector_norm(tangents, dim=1).max()) <= 6.0 + 1e-9


def test_the_same_seed_gives_the_same_bits() -> None:
    one, two, other = (
        embed_tree(made(), 3, steps=10, seed=seed, progress=False) for seed in (0, 0, 1)
    )
    assert one.tobytes() == two.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dim": 0}, "dim must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"rate": 0.0}, "rate= is above 0"),
        ({"rate": "fast"}, "rate= must be a finite number .* not str"),
        ({"rate": 1e6, "steps": 50}, "flew apart"),
        ({"seed": "a"}, "seed must be a whole number"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(options, says: str) -> None:
    with pytest.raises(InvalidRecord, match=says):
        embed_tree(made(), **{"dim": 2, "progress": False, **options})


def test_a_tree_without_edges_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="nothing stands above"):
        embed_tree(Hierarchy(("a", "b"), ("a", "b"), ((), ())), 2, progress=False)
