"""AUC, TPR at low FPR and privleak: equal to scikit-learn, and honest when data are few."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from forgetnet.audit.membership import (
    auc,
    auc_sample_size,
    judge_auc,
    privleak,
    rel_diff,
    tpr_at_fpr,
)
from forgetnet.audit.verdict import Verdict
from forgetnet.errors import InvalidRecord

OPEN = "open-unlearning"
# few values, so that there are ties
sides = st.lists(st.integers(0, 6), min_size=1, max_size=15)


@given(sides, sides)
def test_auc_is_scikit_learns_with_ties(forgotten: list[int], unseen: list[int]) -> None:
    labels = [0] * len(forgotten) + [1] * len(unseen)
    expected = roc_auc_score(labels, forgotten + unseen)
    found = auc(forgotten, unseen)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert 0 <= found.low <= found.low_90 <= found.value <= found.high_90 <= found.high <= 1
    assert auc(unseen, forgotten).value == pytest.approx(1 - expected)


@given(sides, sides)
def test_auc_sees_ranks_alone(forgotten: list[int], unseen: list[int]) -> None:
    there = auc(forgotten, unseen).value
    again = auc(np.exp(forgotten) - 4, np.exp(unseen) - 4).value
    assert again == there


def test_a_member_has_the_lower_score_and_1_is_memorised() -> None:
    assert auc([0.1, 0.2], [3.0, 4.0]).value == 1


def test_a_perfect_separation_still_has_a_width() -> None:
    found = auc([0.0] * 10, [1.0] * 10)
    assert found.high == 1
    assert 0.6 < found.low < 0.9


def test_the_interval_covers() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        found = auc(rng.normal(0, 1, 30), rng.normal(0.5, 1, 30))
        covered += found.low <= 0.63816 <= found.high  # Phi(0.5 / sqrt 2)
    assert 370 <= covered <= 395


def test_nan_scores_are_counted_or_refused() -> None:
    found = auc([0.0, np.nan], [1.0])
    assert (found.value, found.n_forgotten, found.left_out) == (1, 1, 1)
    with pytest.raises(InvalidRecord, match="finite"):
        auc([0.0, np.nan], [1.0], compat=OPEN)
    empty = auc([np.nan], [1.0])
    assert math.isnan(empty.value)
    assert judge_auc(empty, margin=0.1).verdict is Verdict.NOT_CHECKED


@pytest.mark.parametrize(
    ("margin", "n"), [(0.10, 143), (0.05, 571), (0.03, 1586), (0.02, 3569), (0.01, 14274)]
)
def test_sample_sizes_are_those_of_the_table(margin: float, n: int) -> None:
    assert auc_sample_size(margin) == n


def test_the_sample_size_gives_the_power() -> None:
    rng = np.random.default_rng(1)
    verdicts = [
        judge_auc(auc(rng.normal(size=143), rng.normal(size=143)), margin=0.1).verdict
        for _ in range(300)
    ]
    assert 0.72 < verdicts.count(Verdict.CONSISTENT) / 300 < 0.88
    assert Verdict.INCONSISTENT not in verdicts


def test_few_examples_are_underpowered_and_say_how_many_are_needed() -> None:
    rng = np.random.default_rng(2)
    finding = judge_auc(auc(rng.normal(size=20), rng.normal(size=20)), margin=0.1)
    assert finding.verdict is Verdict.UNDERPOWERED
    assert finding.n == 20
    assert "143" in finding.reasons[-1]


def test_remembered_and_forgotten_too_hard_both_fail() -> None:
    low, high = np.zeros(60), np.ones(60)
    for forgotten, unseen, words in ((low, high, "remembered"), (high, low, "too hard")):
        finding = judge_auc(auc(forgotten, unseen), margin=0.1)
        assert finding.verdict is Verdict.INCONSISTENT
        assert words in finding.reasons[-1]


def test_what_counts_is_the_retrained_models_auc() -> None:
    rng = np.random.default_rng(3)
    found = auc(rng.normal(0, 1, 2000), rng.normal(0.5, 1, 2000))
    assert judge_auc(found, margin=0.05).verdict is Verdict.INCONSISTENT
    assert judge_auc(found, margin=0.05, reference=0.638).verdict is Verdict.CONSISTENT


@given(sides, sides, st.sampled_from([0.01, 0.1, 0.25, 0.5]))
def test_tpr_is_the_best_point_of_the_roc_curve(
    forgotten: list[int], unseen: list[int], fpr: float
) -> None:
    labels = [1] * len(forgotten) + [0] * len(unseen)
    curve = roc_curve(labels, [-s for s in forgotten + unseen], drop_intermediate=False)
    best = max(t for f, t in zip(curve[0], curve[1], strict=True) if f <= fpr + 1e-9)
    found = tpr_at_fpr(forgotten, unseen, fpr=fpr)
    assert found.tpr == pytest.approx(best)
    assert found.fpr <= fpr + 1e-9


def test_a_low_rate_wants_many_unseen_examples() -> None:
    few = tpr_at_fpr([0.0], np.arange(1.0, 101), fpr=0.001)
    assert few.verdict is Verdict.UNDERPOWERED
    assert "10000 unseen" in few.reasons[0]
    assert tpr_at_fpr([0.0], np.arange(1.0, 10_001), fpr=0.001).verdict is Verdict.NOT_CHECKED


def test_privleak_by_hand() -> None:
    assert privleak(1.0, 0.5, compat=OPEN).value == pytest.approx(-100)
    assert privleak(0.25, 0.5, compat=OPEN).value == pytest.approx(50)
    assert privleak(0.25, compat=OPEN).value == pytest.approx(50)


def test_privleak_explodes_only_in_the_faulty_one() -> None:
    assert privleak(0.5, 0.98, compat=OPEN).value == pytest.approx(2400, rel=1e-6)
    assert privleak(0.5, 1.0, compat=OPEN).value == pytest.approx(5e11)
    assert privleak(0.5, 0.98).value == pytest.approx(48.98, abs=0.01)
    assert privleak(0.5, 1.0).value == 50


@given(st.floats(0, 1), st.floats(0, 0.99))
def test_mended_privleak_keeps_sign_and_what_is_remembered(now: float, retrained: float) -> None:
    mended, faulty = (privleak(now, retrained, compat=c).value for c in ("strict", OPEN))
    assert -100 - 1e-9 <= mended <= 100
    assert mended * faulty >= 0
    if now > retrained:
        assert mended == pytest.approx(faulty, rel=1e-6, abs=1e-6)


def test_nothing_is_taken_for_a_missing_retrained_model() -> None:
    for compare in (privleak, rel_diff):
        missing = compare(0.7)
        assert math.isnan(missing.value)
        assert "retrained" in missing.reasons[0]
        assert not math.isnan(compare(0.7, compat=OPEN).value)
        assert "0.5" in compare(0.7, compat=OPEN).reasons[0]


def test_rel_diff_by_hand() -> None:
    assert rel_diff(0.6, 0.5, compat=OPEN).value == pytest.approx(20)
    assert rel_diff(0.6, 0.5).value == pytest.approx(20)
    assert rel_diff(0.6, 0.0, compat=OPEN).value > 1e11
    assert math.isnan(rel_diff(0.6, 0.0).value)
    assert rel_diff(-1.0, -2.0).value == pytest.approx(50)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(InvalidRecord, match="AUC"):
        privleak(1.2, 0.5)
    with pytest.raises(InvalidRecord, match="margin"):
        judge_auc(auc([0.0], [1.0]), margin=0.6)
    with pytest.raises(InvalidRecord, match="fpr"):
        tpr_at_fpr([0.0], [1.0], fpr=0)
