"""Lower bounds on epsilon: equal to the reference audit, valid, and silent when data are few."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from forgetnet.audit.bounds import (
    clopper_pearson_upper,
    epsilon_from_counts,
    epsilon_from_scores,
    largest_epsilon,
    one_run_epsilon,
    one_run_guesses,
    zero_hits_bound,
)
from forgetnet.audit.verdict import Verdict
from forgetnet.errors import InvalidRecord

# m, r, v, delta, alpha and the value of jax_privacy 2.0 (epsilon_one_run)
ONE_RUN = [
    (100, 50, 40, 1e-5, 0.05, 0.7735156794749161),
    (1000, 1000, 900, 0, 0.05, 2.0212332312548718),
    (1000, 200, 190, 1e-4, 0.05, 2.352564506114941),
    (100, 100, 100, 0, 0.05, 3.492965346169885),
    (1000, 1000, 1000, 0, 0.05, 5.8090683371730325),
    (50, 20, 10, 0, 0.05, 0.0),
    (500, 100, 97, 1e-3, 0.01, 0.0),
]
# FP, n, FN, p, delta, alpha and the value of jax_privacy 2.0 (epsilon_clopper_pearson, two-sided)
COUNTS = [
    (0, 50, 0, 50, 0, 0.05, 2.5695846830164917),
    (0, 100, 0, 100, 0, 0.05, 3.2813463490987878),
    (0, 500, 0, 500, 0, 0.05, 4.905594210033932),
    (3, 200, 40, 150, 1e-5, 0.05, 2.7186653214756036),
    (10, 100, 5, 100, 1e-2, 0.01, 1.7632111448584453),
    (50, 100, 50, 100, 0, 0.05, 0.0),
    (2, 1000, 700, 1000, 0, 0.05, 3.629884559941787),
]


@pytest.mark.parametrize(("m", "r", "v", "delta", "alpha", "expected"), ONE_RUN)
def test_one_run_is_the_reference_audit(
    m: int, r: int, v: int, *, delta: float, alpha: float, expected: float
) -> None:
    found = one_run_epsilon(m, r, v, delta=delta, alpha=alpha).epsilon
    assert found == pytest.approx(expected, abs=2e-6)  # its own search stops at 1e-6


@pytest.mark.parametrize(("fp", "n", "fn", "p", "delta", "alpha", "expected"), COUNTS)
def test_counts_are_the_reference_audit(
    fp: int, n: int, fn: int, p: int, *, delta: float, alpha: float, expected: float
) -> None:
    found = epsilon_from_counts(fp, n, fn, p, alpha=alpha, delta=delta)
    assert found.epsilon == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 60), st.data())
def test_clopper_pearson_is_scipys(trials: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, trials))
    test = stats.binomtest(hits, trials, alternative="less")
    expected = test.proportion_ci(0.95, method="exact").high
    assert clopper_pearson_upper(hits, trials, alpha=0.05) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "largest"), [(50, 2.6), (100, 3.3), (500, 4.9), (1000, 5.6)])
def test_the_most_an_audit_can_show(n: int, largest: float) -> None:
    assert largest_epsilon(n, n) == pytest.approx(largest, abs=0.05)


@pytest.mark.parametrize(
    ("n", "rate"), [(30, 0.095), (100, 0.03), (300, 0.01), (3000, 0.001)]
)
def test_no_hit_in_n_leaves_a_rate_possible(n: int, rate: float) -> None:
    assert zero_hits_bound(n) == pytest.approx(rate, rel=0.02)
    assert zero_hits_bound(n) == pytest.approx(clopper_pearson_upper(0, n, alpha=0.05))


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0, 0.2))
def test_errors_and_delta_lower_the_bound(fp: int, fn: int, delta: float) -> None:
    found = epsilon_from_counts(fp, 50, fn, 50, delta=delta)
    assert 0 <= found.epsilon <= found.largest
    swapped = epsilon_from_counts(fn, 50, fp, 50, delta=delta)
    assert swapped.epsilon == pytest.approx(found.epsilon)
    if fp + fn < 40:
        worse = epsilon_from_counts(fp + 1, 50, fn, 50, delta=delta)
        assert worse.epsilon <= found.epsilon + 1e-12
    assert epsilon_from_counts(fp, 50, fn, 50).epsilon >= found.epsilon


def test_the_bound_holds_under_randomised_response() -> None:
    """The true epsilon is ln 3; the bound may exceed it in one run of twenty."""
    rng = np.random.default_rng(0)
    true = math.log(3)
    errors = rng.binomial(200, 0.25, (300, 2)).tolist()
    bounds = [epsilon_from_counts(fp, 200, fn, 200).epsilon for fp, fn in errors]
    assert np.mean(np.array(bounds) > true) < 0.06
    at_most = [one_run_epsilon(200, 200, right).epsilon <= true for right in range(150, 200)]
    safe = 149 + at_most.index(False)
    assert stats.binom.sf(safe, 200, 0.75) <= 0.05  # the chance of a bound above the truth


def test_claims_are_refuted_never_proven() -> None:
    refuted = epsilon_from_counts(0, 200, 0, 200, claimed=1.0)
    assert refuted.verdict is Verdict.INCONSISTENT
    kept = epsilon_from_counts(60, 200, 60, 200, claimed=1.0)
    assert kept.verdict is Verdict.CONSISTENT
    assert "stronger" in kept.reasons[0]
    few = epsilon_from_counts(0, 10, 0, 10, claimed=2.0)
    assert few.verdict is Verdict.UNDERPOWERED
    assert epsilon_from_counts(0, 200, 0, 200).verdict is Verdict.NOT_CHECKED
    assert one_run_epsilon(20, 20, 20, claimed=3.0).verdict is Verdict.UNDERPOWERED


def test_a_threshold_is_chosen_and_used_on_different_scores() -> None:
    rng = np.random.default_rng(0)
    strong = epsilon_from_scores(rng.normal(4, 1, 1000), rng.normal(0, 1, 1000), rng=rng)
    assert strong.n == 500
    assert 2.5 < strong.epsilon <= strong.largest
    too_high = sum(
        epsilon_from_scores(rng.normal(size=60), rng.normal(size=60), rng=rng).epsilon > 0
        for _ in range(100)
    )
    assert too_high <= 10


def test_a_threshold_given_is_used_on_all_scores() -> None:
    found = epsilon_from_scores([1.0] * 50, [0.0] * 50, threshold=0.5)
    assert found.epsilon == pytest.approx(COUNTS[0][-1])
    assert found.threshold == 0.5
    assert epsilon_from_scores([1.0] * 50, [0.5] * 50, threshold=0.5).epsilon == 0
    with pytest.raises(InvalidRecord, match="threshold"):
        epsilon_from_scores([1.0, 2], [0.0, 1])


def test_guesses_are_the_extremes() -> None:
    scores, coins = [0.9, 0.1, 0.8, 0.2, 0.5], [True, False, False, True, True]
    assert one_run_guesses(scores, coins, guesses=2) == (2, 2)
    assert one_run_guesses(scores, coins, guesses=4) == (4, 2)
    with pytest.raises(InvalidRecord, match="even"):
        one_run_guesses(scores, coins, guesses=3)


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidRecord, match="hits"):
        epsilon_from_counts(3, 2, 0, 5)
    with pytest.raises(InvalidRecord, match="canaries"):
        one_run_epsilon(5, 6, 3)
    with pytest.raises(InvalidRecord, match="delta"):
        one_run_epsilon(5, 5, 3, delta=1.0)
    with pytest.raises(InvalidRecord, match="claimed"):
        one_run_epsilon(5, 5, 3, claimed=-1.0)
