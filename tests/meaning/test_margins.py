"""Margins are exact, and nothing that stands beside a record changes its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.linking.nearest import whole
from forgetnet.meaning.margins import Field, K, margins


def units(rng: np.random.Generator, n: int, d: int = 12) -> np.ndarray:
    rows = rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plain(row: np.ndarray, field: Field, own: int) -> float:
    """The same in Python's whole numbers."""
    scores = whole(row[None]).astype(np.int64) @ field.codes.astype(np.int64).T
    means = []
    for side in (field.inside, field.outside):
        some = [int(s) for i, s in enumerate(scores[0]) if side[i] and i != own]
        best = sorted(some)[-K:]
        means.append(sum(best) / len(best) / 2**22 if best else None)
    if means[0] is None:
        return -np.inf
    return means[0] - field.weight * (means[1] or 0.0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(0, 12), st.sampled_from([1, 0.5]))
def test_a_margin_is_the_mean_of_the_nearest_inside_less_that_outside(seed, a, b, weight):
    rng = np.random.default_rng(seed)
    rows, exemplars = units(rng, 30), units(rng, a + b)
    side = np.arange(a + b) < a
    field = Field(whole(exemplars), side, ~side, weight)
    own = rng.integers(-1, a + b, 30)
    found = margins(rows, field, own)
    assert found.tolist() == [
        pytest.approx(plain(*each), abs=1e-15)
        for each in zip(rows, [field] * 30, own.tolist(), strict=True)
    ]
    assert margins(rows[7:8], field, own[7:8])[0] == found[7]
    turn = rng.permutation(a + b)
    back = np.argsort(turn)
    moved = Field(field.codes[turn], side[turn], ~side[turn], weight)
    assert (margins(rows, moved, np.where(own < 0, -1, back[own])) == found).all()


def test_an_exemplar_is_scored_as_if_nobody_had_said_what_it_is():
    rng = np.random.default_rng(1)
    exemplars = units(rng, 9)
    side = np.arange(9) < 4
    found = margins(exemplars, Field(whole(exemplars), side, ~side), np.arange(9))
    for i in range(9):
        left = np.arange(9) != i
        without = Field(whole(exemplars[left]), side[left], ~side[left])
        assert margins(exemplars[i : i + 1], without)[0] == found[i]
