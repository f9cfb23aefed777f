"""TOFU's and open-unlearning's metrics: formulas by hand, traps, and what mends them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from forgetnet.audit.quality import (
    UTILITY_PARTS,
    answer_tokens,
    exact_memorisation,
    extraction_strength,
    gibberish,
    mean_nll,
    model_utility,
    prob_normalised,
    probability,
    truth_ratio,
)
from forgetnet.errors import InvalidRecord

OPEN = "open-unlearning"
HOW = ("closer_to_1_better", "true_better", "prob_mean")
nlls = hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 60))
match_rows = st.lists(st.lists(st.booleans(), min_size=1, max_size=9), min_size=1, max_size=6)


def test_probability_by_hand() -> None:
    nll = mean_nll([np.log([0.5, 0.125]), np.log([0.2])])
    score = probability(nll)
    assert score.per_example == pytest.approx([0.25, 0.2])
    assert score.value == pytest.approx(0.225)
    assert (score.n, score.left_out) == (2, 0)


def test_an_example_without_a_token_poisons_only_the_faulty_mean() -> None:
    nll = mean_nll([np.log([0.5]), []])
    assert math.isnan(probability(nll, compat=OPEN).value)
    mended = probability(nll)
    assert mended.value == pytest.approx(0.5)
    assert (mended.n, mended.left_out) == (1, 1)
    assert "left out" in mended.reasons[0]


def test_no_example_left_is_said() -> None:
    score = probability([np.nan])
    assert math.isnan(score.value)
    assert score.n == 0
    assert "no example is left" in score.reasons


def test_normalised_probability_by_hand() -> None:
    p, wrong = np.array([0.4, 0.1]), np.array([[0.4, 0.2], [0.3, 0.1]])
    faulty = prob_normalised(-np.log(p), -np.log(wrong), compat=OPEN)
    assert faulty.per_example == pytest.approx(p / (p + wrong.sum(axis=1) + 1e-10), abs=1e-15)
    assert prob_normalised(-np.log(p), -np.log(wrong)).value == pytest.approx((0.4 + 0.2) / 2)


def test_a_collapsed_model_still_shows_what_it_prefers() -> None:
    correct, wrong = [50.0], [[51.0, 51.0]]
    assert prob_normalised(correct, wrong, compat=OPEN).value < 1e-10
    assert prob_normalised(correct, wrong).value == pytest.approx(1 / (1 + 2 / math.e))


def test_truth_ratio_by_hand() -> None:
    correct, wrong = -np.log([0.5, 0.2]), -np.log([[0.1, 0.4], [0.4, 0.4]])
    q = np.array([0.2, 0.4])  # geometric means
    ratios = q / (np.array([0.5, 0.2]) + 1e-10)
    expected = {
        "closer_to_1_better": np.minimum(ratios, 1 / (ratios + 1e-10)),
        "true_better": np.maximum(0, 1 - ratios),
        "prob_mean": np.array([0.5, 0.2]) / (np.array([0.5, 0.2]) + q + 1e-10),
    }
    for how in HOW:
        score = truth_ratio(correct, wrong, how, compat=OPEN)
        assert score.ratios == pytest.approx(ratios, rel=1e-14)
        assert score.per_example == pytest.approx(expected[how], rel=1e-14)
        assert score.value == pytest.approx(expected[how].mean(), rel=1e-14)


def test_a_mean_of_probabilities_is_another_truth_ratio() -> None:
    correct, wrong = -np.log([0.5]), -np.log([[0.1, 0.4]])
    old = truth_ratio(correct, wrong, "true_better", average="arithmetic")
    assert old.ratios == pytest.approx([0.5])
    assert truth_ratio(correct, wrong, "true_better").ratios == pytest.approx([0.4])


def test_several_paraphrases_are_averaged_as_nll() -> None:
    score = truth_ratio(-np.log([[0.5, 0.125]]), -np.log([[0.25]]), "prob_mean")
    assert score.ratios == pytest.approx([1.0])


def test_a_destroyed_model_is_not_one_that_knows_the_truth() -> None:
    """Both answers as unlikely: R is 1, and the constant makes it 0."""
    faulty = truth_ratio([60.0], [[60.0]], "true_better", compat=OPEN)
    assert faulty.value > 0.999
    mended = truth_ratio([60.0], [[60.0]], "true_better")
    assert mended.value == 0
    assert truth_ratio([60.0], [[60.0]], "closer_to_1_better").value == 1


def test_nan_poisons_the_faulty_truth_ratio_only() -> None:
    correct, wrong = [1.0, np.nan], [[1.0], [1.0]]
    for how in HOW:
        assert math.isnan(truth_ratio(correct, wrong, how, compat=OPEN).value)
        assert truth_ratio(correct, wrong, how).left_out == 1


@given(nlls, st.data())
def test_truth_ratios_lie_between_0_and_1(correct: np.ndarray, data: st.DataObject) -> None:
    wrong = data.draw(
        hnp.arrays(np.float64, (len(correct), 3), elements=st.floats(0, 60)), label="wrong"
    )
    for how in HOW:
        for average in ("geometric", "arithmetic"):
            score = truth_ratio(correct, wrong, how, average=average)
            assert ((score.per_example >= 0) & (score.per_example <= 1)).all()
            order = np.random.default_rng(0).permutation(len(correct))
            again = truth_ratio(correct[order], wrong[order], how, average=average)
            assert again.value == pytest.approx(score.value)


@given(nlls, st.floats(0, 3))
def test_strict_ratios_look_at_differences_alone(correct: np.ndarray, shift: float) -> None:
    wrong = correct[::-1][:, None]
    near = truth_ratio(correct, wrong, "prob_mean").value
    assert truth_ratio(correct + shift, wrong + shift, "prob_mean").value == pytest.approx(near)


@given(nlls)
def test_strict_and_faulty_agree_where_probabilities_are_not_tiny(correct: np.ndarray) -> None:
    correct = correct / 12
    wrong = correct[::-1][:, None]
    for how in HOW:
        strict = truth_ratio(correct, wrong, how).value
        assert truth_ratio(correct, wrong, how, compat=OPEN).value == pytest.approx(
            strict, abs=1e-6
        )


def test_mended_closeness_is_symmetric() -> None:
    a, b = [2.0], [[1.0]]
    there = truth_ratio(a, b, "closer_to_1_better").value
    assert there == truth_ratio(b[0], [a], "closer_to_1_better").value == pytest.approx(1 / math.e)


def test_extraction_strength_by_hand() -> None:
    rows = [[False, True, True, True], [True, True], [True, False, False, True]]
    assert extraction_strength(rows).per_example == pytest.approx([0.75, 1, 0.25])


def test_extraction_strength_has_a_floor_only_in_the_faulty_one() -> None:
    nothing = [[False] * 5, [True, True, True, False]]
    assert extraction_strength(nothing, compat=OPEN).per_example == pytest.approx([0.2, 0.25])
    assert extraction_strength(nothing).per_example == pytest.approx([0, 0])


def test_an_empty_answer_is_0_only_in_the_faulty_one() -> None:
    rows = [[], [True]]
    assert extraction_strength(rows, compat=OPEN).value == 0.5
    mended = extraction_strength(rows)
    assert (mended.value, mended.n, mended.left_out) == (1, 1, 1)
    assert exact_memorisation(rows, compat=OPEN).n == exact_memorisation(rows).n == 1


@given(match_rows)
def test_extraction_is_never_above_what_is_right(rows: list[list[bool]]) -> None:
    em, es = exact_memorisation(rows), extraction_strength(rows)
    assert (es.per_example <= em.per_example + 1e-12).all()
    faulty = extraction_strength(rows, compat=OPEN)
    floor = np.array([1 / len(row) for row in rows])
    assert faulty.per_example == pytest.approx(np.maximum(es.per_example, floor))


def test_exact_memorisation_divides_in_float32_as_it_was() -> None:
    rows = [[True, False, False]]
    assert exact_memorisation(rows, compat=OPEN).value == float(np.float32(1) / np.float32(3))
    assert exact_memorisation(rows).value == 1 / 3


def test_the_last_token_is_dropped_only_if_it_ends_the_sequence() -> None:
    tokens = [1, 2, 3]
    assert answer_tokens(tokens, ends_with_eos=False) == tokens
    assert answer_tokens(tokens, ends_with_eos=False, compat=OPEN) == [1, 2]
    assert answer_tokens(tokens, ends_with_eos=True) == [1, 2]


def test_gibberish_is_the_mean_of_class_0() -> None:
    table = [[0.9, 0.1], [0.3, 0.7], [np.nan, np.nan]]
    assert math.isnan(gibberish(table, compat=OPEN).value)
    mended = gibberish(table)
    assert mended.value == pytest.approx(0.6)
    assert (mended.n, mended.left_out) == (2, 1)
    assert gibberish(table[:2], compat=OPEN).value == pytest.approx(0.6)
    with pytest.raises(InvalidRecord, match="sums to 1"):
        gibberish([[0.9, 0.2]])
    with pytest.raises(InvalidRecord, match="row of probabilities"):
        gibberish([0.9, 0.1])


def test_model_utility_is_scipys_harmonic_mean() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.uniform(0.01, 1, 9)
        parts = dict(zip(UTILITY_PARTS, values.tolist(), strict=True))
        assert model_utility(parts, compat=OPEN).value == stats.hmean(values)
        assert model_utility(parts).value == stats.hmean(values)


def test_one_zero_makes_model_utility_0_and_is_named() -> None:
    parts = dict.fromkeys(UTILITY_PARTS, 0.6) | {UTILITY_PARTS[4]: 0.0}
    assert model_utility(parts, compat=OPEN).value == 0
    score = model_utility(parts)
    assert score.value == 0
    assert UTILITY_PARTS[4] in score.reasons[0]


def test_model_utility_of_fewer_parts_is_no_model_utility() -> None:
    parts = dict.fromkeys(UTILITY_PARTS[:6], 0.6)
    assert model_utility(parts, compat=OPEN).value == pytest.approx(0.6)
    score = model_utility(parts)
    assert math.isnan(score.value)
    assert (score.n, score.left_out) == (6, 3)
    with pytest.raises(InvalidRecord, match="none of"):
        model_utility({"fluency": 1.0})


@pytest.mark.parametrize("bad", [[-0.1], [np.inf], [], 3.0])
def test_what_is_no_nll_is_refused(bad: object) -> None:
    with pytest.raises(InvalidRecord, match="nll"):
        probability(bad)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(InvalidRecord, match="compat"):
        probability([1.0], compat="loose")
    with pytest.raises(InvalidRecord, match="how"):
        truth_ratio([1.0], [[1.0]], "better")
    with pytest.raises(InvalidRecord, match="average"):
        truth_ratio([1.0], [[1.0]], "prob_mean", average="median")
    with pytest.raises(InvalidRecord, match="as many"):
        truth_ratio([1.0], [[1.0], [2.0]], "prob_mean")
