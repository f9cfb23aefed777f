"""The expert without a state: answers of rows alone, in an order that ids decide."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord
from forgetnet.experts.neighbour import Neighbour, NeighbourExpert

ROWS = st.lists(
    st.builds(
        Neighbour,
        st.text(min_size=1, max_size=4),
        st.sampled_from([-1.0, 0.2, 0.5, 0.5, 0.9]),
        st.sampled_from(["a", "b", "c"]),
    ),
    unique_by=lambda row: row.id,
    max_size=12,
)
CLASSES = ["a", "b", "c"]


@given(ROWS, st.integers(1, 15), st.sampled_from(["softmax", "uniform"]), st.integers(0, 9))
def test_the_order_of_the_rows_does_not_matter(
    rows: list[Neighbour], k: int, weights: Any, seed: int
) -> None:
    expert = NeighbourExpert(k=k, weights=weights)
    answer = expert.answer([rows], CLASSES)
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    assert np.array_equal(answer, expert.answer([mixed], CLASSES))
    assert math.isclose(answer.sum(), 1.0) or not rows
    assert not rows or (answer >= 0).all()


@given(ROWS, st.integers(1, 15))
def test_rows_beyond_the_k_nearest_have_no_say(rows: list[Neighbour], k: int) -> None:
    expert = NeighbourExpert(k=k)
    nearest = sorted(rows, key=lambda row: (-row.similarity, row.id))[:k]
    assert np.array_equal(expert.answer([rows], CLASSES), expert.answer([nearest], CLASSES))


def test_equals_are_taken_by_id() -> None:
    rows = [Neighbour("z", 0.5, "b"), Neighbour("a", 0.5, "a")]
    assert NeighbourExpert(k=1).answer([rows], CLASSES).tolist() == [[1.0, 0.0, 0.0]]


def test_weights_are_the_softmax_of_similarity() -> None:
    rows = [Neighbour("x", 0.9, "a"), Neighbour("y", 0.8, "b")]
    soft = NeighbourExpert(temperature=0.1).answer([rows], CLASSES)[0]
    assert math.isclose(soft[0] / soft[1], math.e, rel_tol=1e-9)
    even = NeighbourExpert(weights="uniform").answer([rows], CLASSES)[0]
    assert even.tolist() == [0.5, 0.5, 0.0]


def test_nobody_near_gives_zeros() -> None:
    assert NeighbourExpert().answer([[], []], CLASSES).tolist() == [[0.0] * 3] * 2
    assert NeighbourExpert(task="regression").answer([[]]).tolist() == [[0.0]]


def test_numbers_are_averaged() -> None:
    expert = NeighbourExpert(task="regression", weights="uniform")
    rows = [Neighbour("x", 0.9, (1.0, 10.0)), Neighbour("y", 0.1, (3.0, 30.0))]
    assert expert.answer([rows, rows[:1]]).tolist() == [[2.0, 20.0], [1.0, 10.0]]
    assert expert.answer([[Neighbour("x", 0.1, 4.0)]]).tolist() == [[4.0]]


def test_rows_of_another_kind_are_refused() -> None:
    with pytest.raises(InvalidRecord, match="none of the classes"):
        NeighbourExpert().answer([[Neighbour("x", 0.9, "z")]], CLASSES)
    regression = NeighbourExpert(task="regression")
    with pytest.raises(InvalidRecord, match="is a label"):
        regression.answer([[Neighbour("x", 0.9, "z")]])
    with pytest.raises(InvalidRecord, match="several lengths"):
        regression.answer([[Neighbour("x", 0.9, 1.0), Neighbour("y", 0.9, (1.0, 2.0))]])


@pytest.mark.parametrize("wrong", [{"k": 0}, {"temperature": 0.0}, {"weights": "no"}])
def test_settings_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord):
        NeighbourExpert(**wrong)


def test_it_says_what_it_is() -> None:
    assert NeighbourExpert().influence is Influence.LOCAL
    assert NeighbourExpert(weights="uniform").config()["temperature"] is None
