"""Sums that can be undone: no bit is lost at the extremes, in any chunks and any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord
from forgetnet.exact import (
    EXACT,
    LIMB_BITS,
    add_gram,
    fix_weights,
    gram,
    join_limbs,
    packed_size,
    panels,
    split_limbs,
    to_fixed,
    unpack,
)
from forgetnet.experts.tally import Tally, index_labels, sum_by_class

WIDE = st.integers(-(2**60), 2**60)


def whole(rows: int, columns: int, seed: int, largest: int = 2047) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(-largest, largest + 1, (rows, columns))
    return drawn.astype(np.float64)


@given(st.lists(WIDE, min_size=1, max_size=20))
def test_limbs_are_small_and_join_again(numbers: list[int]) -> None:
    limbs = split_limbs(np.array(numbers, np.int64))
    assert join_limbs(limbs).tolist() == numbers
    assert (np.abs(limbs) <= 2**LIMB_BITS).all()
    assert join_limbs(limbs.sum(axis=1)) == sum(numbers)


def test_the_largest_targets_have_limbs() -> None:
    most = np.nextafter(2.0**40, 0.0)
    fixed = to_fixed([most, -most, 0.0])
    assert join_limbs(split_limbs(fixed)).tolist() == [int(most * 2**20), -int(most * 2**20), 0]
    for value in (2.0**40, -(2.0**40), np.nan, np.inf):
        with pytest.raises(InvalidRecord):
            to_fixed([value])


@pytest.mark.parametrize("m", [1, 2, 255, 256, 257, 700])
def test_a_packed_sum_is_the_sum_of_whole_numbers(m: int) -> None:
    rows = whole(40, m, seed=m)
    rows[:3] = [[2047.0], [-2047.0], [2047.0]]
    packed = np.zeros(packed_size(m), np.int64)
    for start, stop in ((0, 1), (1, 17), (17, 40)):
        add_gram(packed, rows[start:stop], rows[start:stop], 2047**2, 1)
    exact = rows.astype(np.int64).T @ rows.astype(np.int64)
    assert (np.triu(unpack(packed, m)) == np.triu(exact)).all()
    assert sum(panel.size for _, panel in panels(packed, m)) == len(packed)
    add_gram(packed, rows[::-1], rows[::-1], 2047**2, -1)
    assert not packed.any()


def test_sums_beyond_float64_stay_exact() -> None:
    packed = np.array([2**53 + 1], np.int64)
    one = np.ones((1, 1))
    add_gram(packed, one, one, 1, 1)
    assert packed[0] == 2**53 + 2
    add_gram(packed, one, one, 1, -1)
    assert packed[0] == 2**53 + 1  # adding in float64 would have rounded it


def test_rows_that_could_round_are_refused() -> None:
    rows = np.ones((2, 1))
    with pytest.raises(ValueError, match="too many"):
        gram(rows, rows, EXACT // 2)


@given(st.integers(1, 300), st.integers(1, 5), st.sampled_from([1, 2047, 2**15, 2**21]))
def test_products_with_fixed_weights_are_exact_in_any_company(m: int, c: int, largest: int) -> None:
    random = np.random.default_rng([m, c])
    weights = random.normal(size=(m, c)) * 10.0 ** random.integers(-12, 12, c)
    fixed, step = fix_weights(weights, largest)
    rows = whole(7, m, seed=m, largest=largest)
    rows[0] = largest * np.where(fixed[:, 0] < 0, -1, 1)  # the largest sum there can be
    product = rows @ fixed
    assert product.tolist() == (rows.astype(object) @ fixed.astype(object)).tolist()
    assert np.abs(product).max() < EXACT
    assert all((rows[i : i + 1] @ fixed == product[i]).all() for i in range(7))
    assert (np.abs(fixed * step - weights) <= step / 2).all()
    most = EXACT / (m * largest)
    assert (np.abs(fixed).max(axis=0) >= most / 8).all()  # no bit is given away


def test_weights_of_nothing_are_nothing() -> None:
    fixed, step = fix_weights(np.zeros((3, 2)), 2047)
    assert not fixed.any()
    assert np.isfinite(step).all()
    assert fix_weights(np.zeros((0, 0)), 2047)[0].shape == (0, 0)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9))
def test_sums_by_class_are_those_of_each_record(index: list[int], seed: int) -> None:
    rows = whole(len(index), 3, seed)
    sums = np.full((5, 3), 2**60)
    sum_by_class(sums, rows, np.array(index))
    slow = np.full((5, 3), 2**60)
    for row, where in zip(rows.astype(np.int64), index, strict=True):
        slow[where] += row
    assert (sums == slow).all()


def tally(labels: list[str], value: int = 1) -> Tally:
    classes, index = index_labels(labels)
    counts = np.bincount(index, minlength=len(classes))
    return Tally(classes, counts, counts[:, None] * np.array([[value, -value]]))


@given(*[st.lists(st.sampled_from("abcdz"), max_size=8)] * 2)
def test_classes_come_and_go_in_canonical_order(first: list[str], more: list[str]) -> None:
    both = tally(first).combined(tally(more), 1)
    assert list(both.classes) == sorted({*first, *more})
    assert both.counts.tolist() == [(first + more).count(c) for c in both.classes]
    left = both.combined(tally(more), -1)
    alone = tally(first)
    assert (left.classes, left.counts.tolist()) == (alone.classes, alone.counts.tolist())
    assert left.sums.tolist() == alone.sums.tolist()


def test_what_was_never_added_is_refused() -> None:
    for gone in (["b"], ["a", "a", "a"]):
        with pytest.raises(InvalidRecord, match="can't have been absorbed"):
            tally(["a", "a"]).check(tally(gone))
    with pytest.raises(InvalidRecord, match="sum of no record"):
        tally(["a", "b"]).combined(tally(["a"], value=5), -1)


def test_labels_are_of_one_kind() -> None:
    for bad in (["a", 1], [1, 1.5], [True], [None], [float("nan")], [(1,)]):
        with pytest.raises(InvalidRecord, match="label"):
            index_labels(bad)  # the point
    assert index_labels([2, 10, 1])[0] == (1, 2, 10)
    assert str(index_labels([-0.0])[0]) == str(index_labels([0.0])[0])
