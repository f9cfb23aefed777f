"""Equivalence needs a margin and enough data: each answer, where it must and mustn't come."""

from __future__ import annotations

import itertools
import math
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from forgetnet.audit.equivalence import (
    equal_bits,
    forget_quality,
    holm,
    margin_between,
    minimum_detectable_effect,
    tost,
    tost_power,
    tost_sample_size,
)
from forgetnet.audit.permutation import among_retrained, mean_gap, permutation
from forgetnet.audit.verdict import Finding, Verdict, overall
from forgetnet.errors import InvalidRecord, Unsupported

OPEN = "open-unlearning"
samples = st.lists(st.floats(-5, 5), min_size=3, max_size=20)


@given(samples, samples)
def test_forget_quality_is_scipys_p_value(a: list[float], b: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library must not let it through
        expected = stats.ks_2samp(a, b)
    for compat in ("strict", OPEN):
        found = forget_quality(a, b, compat=compat)
        assert (found.p_value, found.distance) == (expected.pvalue, expected.statistic)
        assert found.p_value >= found.floor * (1 - 1e-9)


def test_forget_quality_is_the_same_for_inverse_ratios() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.gamma(2, 1, 60), rng.gamma(3, 1, 60)
    assert forget_quality(a, b).p_value == forget_quality(1 / a, 1 / b).p_value


@pytest.mark.parametrize(
    ("n", "floor"),
    [(20, 1.5e-11), (40, 1.9e-23), (100, 2.2e-59), (200, 1.94e-119), (400, 1.06e-239)],
)
def test_a_tiny_p_value_is_a_floor_and_no_measure_of_how_bad(n: int, floor: float) -> None:
    near, far = np.full(n, 1.01), np.full(n, 1000.0)
    for ratios in (near, far):
        found = forget_quality(np.zeros(n), ratios)
        assert found.p_value == pytest.approx(floor, rel=0.05)
        assert found.floor == pytest.approx(floor, rel=0.05)
        assert any("least" in reason for reason in found.reasons)


def test_a_high_p_value_is_no_evidence_of_forgetting() -> None:
    """Half a standard deviation is left, and with 40 examples KS passes most of the time."""
    rng = np.random.default_rng(0)
    runs = [forget_quality(rng.normal(0.5, 1, 40), rng.normal(0, 1, 40)) for _ in range(200)]
    passed = sum(run.p_value >= 0.05 for run in runs)
    assert 0.5 < passed / 200 < 0.78
    assert all(run.verdict is not Verdict.CONSISTENT for run in runs)
    judged = forget_quality(rng.normal(0.5, 1, 40), rng.normal(0, 1, 40), margin=0.1)
    assert judged.verdict is Verdict.UNDERPOWERED


def test_forget_quality_with_a_margin_can_say_all_three() -> None:
    rng = np.random.default_rng(1)
    many = rng.normal(size=5000), rng.normal(size=5000)
    assert forget_quality(*many, margin=0.1).verdict is Verdict.CONSISTENT
    assert forget_quality(many[0] + 2, many[1], margin=0.1).verdict is Verdict.INCONSISTENT
    few = forget_quality(many[0][:50], many[1][:50], margin=0.1)
    assert few.verdict is Verdict.UNDERPOWERED
    assert "877" in few.reasons[0]


def test_the_limit_of_the_gap_holds() -> None:
    rng = np.random.default_rng(2)
    true = 2 * stats.norm.cdf(0.1) - 1  # the gap of two normals 0.2 apart
    holds = [
        forget_quality(rng.normal(0.2, 1, 80), rng.normal(0, 1, 80)).at_most >= true
        for _ in range(200)
    ]
    assert np.mean(holds) > 0.95


def test_open_unlearning_gives_no_verdict() -> None:
    found = forget_quality([0.0] * 40, [1.0] * 40, compat=OPEN)
    assert found.verdict is Verdict.NOT_CHECKED


def test_without_a_retrained_model_there_is_no_forget_quality() -> None:
    found = forget_quality([1.0], None, compat=OPEN)
    assert math.isnan(found.p_value)
    assert found.verdict is Verdict.NOT_CHECKED


def test_a_higher_truth_ratio_is_not_a_higher_forget_quality() -> None:
    rng = np.random.default_rng(3)
    retrained = rng.uniform(0.4, 0.8, 200)
    like, above = rng.uniform(0.4, 0.8, 200), rng.uniform(0.8, 1, 200)
    assert np.minimum(above, 1 / above).mean() > np.minimum(like, 1 / like).mean()
    assert forget_quality(above, retrained).p_value < forget_quality(like, retrained).p_value


@pytest.mark.parametrize("paired", [False, True])
def test_tost_is_two_t_tests_of_scipy(paired: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.normal(0.1, 1, 30), rng.normal(0, 2, 30)
        test = stats.ttest_rel if paired else stats.ttest_ind
        more = {} if paired else {"equal_var": False}
        below = test(a, b - 0.5, alternative="greater", **more).pvalue
        above = test(a, b + 0.5, alternative="less", **more).pvalue
        found = tost(a, b, margin=0.5, paired=paired)
        assert found.p_value == pytest.approx(max(below, above))
        assert found.p_difference == pytest.approx(test(a, b, **more).pvalue)
        interval = test(a, b, **more).confidence_interval(0.9)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_tost_says_all_three() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=2000), rng.normal(size=2000)
    assert tost(a, b, margin=0.2).finding.verdict is Verdict.CONSISTENT
    assert tost(a + 1, b, margin=0.2).finding.verdict is Verdict.INCONSISTENT
    few = tost(a[10:18], b[10:18], margin=0.2)
    assert few.finding.verdict is Verdict.UNDERPOWERED
    assert few.power < 0.1
    assert few.finding.n == 8


def test_models_that_are_alike_are_accused_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(2)
    said = [
        tost(rng.normal(size=8), rng.normal(size=8), margin=0.01).finding.verdict
        for _ in range(600)
    ]
    assert said.count(Verdict.INCONSISTENT) / 600 < 0.07
    assert Verdict.CONSISTENT not in said


def test_a_difference_inside_the_margin_is_no_inconsistency() -> None:
    rng = np.random.default_rng(1)
    found = tost(rng.normal(0.1, 1, 20_000), rng.normal(0, 1, 20_000), margin=0.2)
    assert found.p_difference < 1e-6
    assert found.finding.verdict is Verdict.CONSISTENT


@given(samples, samples, st.floats(0.1, 2), st.floats(0.5, 3))
def test_tost_does_not_depend_on_unit_or_side(
    a: list[float], b: list[float], margin: float, scale: float
) -> None:
    there, back = tost(a, b, margin=margin), tost(b, a, margin=margin)
    assert there.p_value == pytest.approx(back.p_value, abs=1e-9)
    assert there.difference == -back.difference
    wider = tost(a, b, margin=margin * 1.5)
    assert wider.p_value <= there.p_value + 1e-12
    if there.high - there.low > 1e-6:
        moved = tost(np.array(a) * scale, np.array(b) * scale, margin=margin * scale)
        assert moved.p_value == pytest.approx(there.p_value, abs=1e-6)


def test_no_spread_is_no_crash() -> None:
    assert tost([1.0, 1.0], [1.0, 1.0], margin=0.1).finding.verdict is Verdict.CONSISTENT
    assert tost([1.0, 1.0], [2.0, 2.0], margin=0.1).finding.verdict is Verdict.INCONSISTENT


def test_power_and_sample_size_are_what_happens() -> None:
    n = tost_sample_size(1.0, 0.5)
    assert n == 69  # 2 (1.645 + 1.282)² / 0.25
    rng = np.random.default_rng(4)
    shown = [
        tost(rng.normal(size=n), rng.normal(size=n), margin=0.5).p_value < 0.05 for _ in range(600)
    ]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.05)
    assert tost_power(math.sqrt(2 / n), 2 * n - 2, 0.5) == pytest.approx(0.8, abs=0.02)


def test_the_smallest_difference_is_found_four_times_in_five() -> None:
    effect = minimum_detectable_effect(math.sqrt(2 / 100))
    assert effect == pytest.approx(2.8016 * math.sqrt(2 / 100), rel=1e-4)
    rng = np.random.default_rng(5)
    pairs = [(rng.normal(effect, 1, 100), rng.normal(size=100)) for _ in range(600)]
    p = np.array([stats.ttest_ind(a, b).pvalue for a, b in pairs])
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.05)


def test_the_margin_is_a_quantile_that_few_models_do_not_have() -> None:
    few = margin_between(np.arange(18.0))
    assert few.verdict is Verdict.UNDERPOWERED
    assert math.isnan(few.value)
    assert "19 distances" in few.reasons[0]
    assert margin_between(np.arange(19.0)).value == 18
    assert margin_between(np.arange(1000.0)).value == pytest.approx(950, abs=1)


def test_a_rank_among_k_models_has_a_least_p_value() -> None:
    few = among_retrained(9.0, np.arange(5.0))
    assert few.p_value == few.least_p == pytest.approx(1 / 6)
    assert few.finding.verdict is Verdict.UNDERPOWERED
    assert "19 retrained models" in few.finding.reasons[0]
    assert among_retrained(20.0, np.arange(19.0)).finding.verdict is Verdict.INCONSISTENT
    assert among_retrained(5.0, np.arange(19.0)).finding.verdict is Verdict.NOT_CHECKED


def test_permutation_is_scipys_exact_p_value() -> None:
    rng = np.random.default_rng(0)
    for n, m in itertools.product((3, 5), (4, 5)):
        a, b = rng.normal(0.8, 1, n), rng.normal(size=m)
        found = permutation(a, b, rng)
        expected = stats.permutation_test(
            (a, b), lambda x, y: abs(x.mean() - y.mean()), n_resamples=10**6, alternative="greater"
        )
        assert found.exact
        assert found.p_value == pytest.approx(expected.pvalue)


def test_a_random_permutation_never_says_0_and_repeats_with_its_seed() -> None:
    a, b = np.arange(30.0), np.arange(30.0) + 100
    runs = [permutation(a, b, np.random.default_rng(7), arrangements=199) for _ in range(2)]
    assert not runs[0].exact
    assert runs[0].p_value == runs[1].p_value == 1 / 200
    assert runs[0].finding.verdict is Verdict.INCONSISTENT


def test_three_values_a_side_are_underpowered() -> None:
    found = permutation([1.0, 2, 3], [10.0, 20, 30], np.random.default_rng(0), statistic=mean_gap)
    assert found.p_value == found.least_p == 0.1
    assert found.finding.verdict is Verdict.UNDERPOWERED


def test_holm_by_hand() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found.adjusted == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert set(found.rejected) == {"a", "d"}


def test_holm_keeps_false_alarms_rare() -> None:
    rng = np.random.default_rng(0)
    trials = rng.uniform(size=(1000, 8))
    alarms = [bool(holm({str(i): p for i, p in enumerate(row)}).rejected) for row in trials]
    assert np.mean(trials.min(axis=1) < 0.05) > 0.25
    assert np.mean(alarms) < 0.07


def test_only_equal_bits_prove() -> None:
    assert equal_bits(b"\1" * 32, b"\1" * 32).verdict is Verdict.PROVEN
    assert equal_bits(b"\1" * 32, b"\2" * 32).verdict is Verdict.INCONSISTENT
    with pytest.raises(InvalidRecord, match="empty"):
        equal_bits(b"", b"")


def test_the_worst_finding_counts() -> None:
    findings = {verdict: Finding("t", verdict, 1) for verdict in Verdict}
    order = ["proven", "consistent", "underpowered", "not checked", "inconsistent"]
    for best, worst in itertools.combinations(order, 2):
        assert overall([findings[Verdict(best)], findings[Verdict(worst)]]) == worst
    assert overall([]) is Verdict.NOT_CHECKED


def test_a_finding_cannot_be_changed() -> None:
    finding = Finding("t", Verdict.PROVEN, 1, {"p": 0.5})
    with pytest.raises(TypeError):
        finding.numbers["p"] = 0.0


def test_scipy_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(Unsupported, match=r"\[unlearn\]"):
        forget_quality([1.0], [2.0])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="margin"):
        tost([0.0, 1], [0.0, 1], margin=0)
    with pytest.raises(InvalidRecord, match="retrained"):
        tost([0.0, 1], [0.0], margin=1)
    with pytest.raises(InvalidRecord, match="as many"):
        tost([0.0, 1], [0.0, 1, 2], margin=1, paired=True)
    with pytest.raises(InvalidRecord, match="truth ratio"):
        forget_quality([np.nan], [1.0])
    with pytest.raises(InvalidRecord, match="p-values"):
        holm({"a": 1.5})
