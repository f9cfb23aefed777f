"""The threshold keeps its promise: by the formula, by brute force, and over many random worlds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from forgetnet.meaning.conformal import MILLION, clopper_pearson, control, enough

UNITS = st.lists(
    st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=6), min_size=1, max_size=25
)


def risk(units: list[list[float]], threshold: float) -> Fraction:
    lost = [Fraction(sum(m < threshold for m in unit), len(unit)) for unit in units]
    return (sum(lost) + 1) / Fraction(len(units) + 1)


@given(UNITS, st.integers(40_000, 900_000), st.integers(0, 50_000))
def test_the_threshold_is_the_largest_that_the_formula_allows(units, alpha, shift):
    shift = min(shift, alpha // 2)
    if not enough(len(units), alpha - shift):
        return

    def allowed(threshold: float) -> bool:
        return risk(units, threshold) <= Fraction(alpha - shift, MILLION)

    threshold, miss = control([np.array(unit) for unit in units], alpha, shift)
    assert allowed(threshold)
    larger = sorted({m for unit in units for m in unit if m > threshold})
    assert not larger or not allowed(larger[0])
    assert miss.low <= miss.estimate <= miss.high
    assert miss.estimate <= alpha and miss.units == len(units)


@given(UNITS, st.lists(st.integers(40_000, 900_000), min_size=2, max_size=2).map(sorted))
def test_a_larger_recall_never_has_a_larger_threshold(units, alphas):
    rows = [np.array(unit) for unit in units]
    if enough(len(units), alphas[0]):
        assert control(rows, alphas[0])[0] <= control(rows, alphas[1])[0]


@pytest.mark.parametrize(("alpha", "least"), [(100_000, 9), (50_000, 19), (10_000, 99)])
def test_as_many_units_are_needed_as_the_promise_is_fine(alpha, least):
    assert enough(least, alpha) and not enough(least - 1, alpha)
    threshold, miss = control([np.array([float(i)]) for i in range(least)], alpha)
    assert threshold == 0.0 and miss.estimate == alpha


@pytest.mark.parametrize("recall", [0.9, 0.95])
@pytest.mark.parametrize("sizes", [1, 8])
def test_over_many_worlds_the_share_that_is_missed_is_the_promised_one(recall, sizes):
    rng = np.random.default_rng(0)
    alpha = round((1 - recall) * MILLION)
    missed = []
    for _ in range(400):
        centres = rng.normal(size=61) * (sizes > 1)
        worlds = [rng.normal(centre, size=sizes) for centre in centres]
        threshold, _ = control(worlds[:-1], alpha)
        new = rng.normal(centres[-1], size=400)
        missed.append((new < threshold).mean())
    spread = 3 * np.std(missed) / 20
    assert np.mean(missed) <= 1 - recall + spread
    assert np.mean(missed) >= 1 - recall - 2 / 61 - spread


def test_a_threshold_that_ignores_the_correction_would_break_the_promise():
    """The control of the test above: the plain quantile of few exemplars misses too much."""
    rng = np.random.default_rng(0)
    plain, kept = [], []
    for _ in range(2_000):
        units, new = rng.normal(size=19), rng.normal(size=200)
        plain.append((new < np.quantile(units, 0.1, method="higher")).mean())
        kept.append((new < control([np.array([u]) for u in units], 100_000)[0]).mean())
    assert np.mean(plain) > 0.12 and np.mean(kept) < 0.11


@pytest.mark.parametrize("trials", [1, 7, 40, 600])
def test_the_interval_is_that_of_clopper_and_pearson(trials):
    for hits in {0, 1, trials // 20, trials // 2, trials}:
        low, high = clopper_pearson(hits, trials)
        assert low == pytest.approx(
            beta.ppf(0.025, hits, trials - hits + 1) if hits else 0.0, abs=1e-9
        )
        assert high == pytest.approx(
            beta.ppf(0.975, hits + 1, trials - hits) if hits < trials else 1.0, abs=1e-9
        )
