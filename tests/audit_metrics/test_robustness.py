"""What relearning and rounding bring back: ratios by hand, and a rounding that undoes all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forgetnet.audit.robustness import (
    quantisation_survival,
    relearn_ratio,
    relearn_steps,
    round_trip,
    rounded,
)
from forgetnet.audit.verdict import Verdict
from forgetnet.errors import InvalidRecord

OPEN = "open-unlearning"
weights = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6), elements=st.floats(-3, 3)
)


def test_relearn_ratio_by_hand() -> None:
    for compat in ("strict", OPEN):
        assert relearn_ratio((0.1, 0.5), (0.1, 0.2), compat=compat).value == pytest.approx(0.25)
        assert relearn_ratio((0.1, 0.2), (0.1, 0.5), compat=compat).value == 1


def test_signs_fool_only_the_faulty_ratio() -> None:
    """Unlearned gains nothing and gets worse, which is best; or it alone gains, which is worst."""
    assert relearn_ratio((0.3, 0.1), (0.1, 0.2), compat=OPEN).value == pytest.approx(-0.5)
    assert relearn_ratio((0.3, 0.1), (0.1, 0.2)).value == 1
    assert relearn_ratio((0.3, 0.2), (0.3, 0.1)).value == 1
    assert relearn_ratio((0.1, 0.5), (0.3, 0.2), compat=OPEN).value == pytest.approx(-0.25)
    assert relearn_ratio((0.1, 0.5), (0.3, 0.2)).value == 0
    assert math.isnan(relearn_ratio((0.1, 0.1), (0.3, 0.3), compat=OPEN).value)


@given(*[st.floats(0, 1)] * 4)
def test_the_mended_ratio_lies_between_0_and_1(a: float, b: float, c: float, d: float) -> None:
    assert 0 <= relearn_ratio((a, b), (c, d)).value <= 1


def test_relearning_in_few_steps_is_caught_with_enough_seeds() -> None:
    rng = np.random.default_rng(0)
    slow, fast = rng.poisson(100, 12) + 1, rng.poisson(20, 12) + 1
    assert relearn_steps(fast, slow).finding.verdict is Verdict.INCONSISTENT
    assert relearn_steps(slow + 30, slow).finding.verdict is Verdict.CONSISTENT
    few = relearn_steps(fast[:5], slow[:5])
    assert few.finding.verdict is Verdict.UNDERPOWERED
    assert "10 seeds" in few.finding.reasons[0]


def test_the_interval_of_steps_covers() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        a, b = (np.exp(rng.normal(mean, 0.3, 10)) for mean in (math.log(2), 0.0))
        found = relearn_steps(a, b)
        covered += found.low <= 2 <= found.high
    assert covered / 300 > 0.91


def test_quantisation_survival_by_hand() -> None:
    assert quantisation_survival(0.2, 0.8, compat=OPEN).value == pytest.approx(0.25)
    assert quantisation_survival(0.8, 0.2, compat=OPEN).value == 1
    assert quantisation_survival(0.2, 0.8).value == pytest.approx(0.4)
    assert quantisation_survival(0.8, 0.2).value == pytest.approx(0.4)
    assert quantisation_survival(0.0, 0.0).value == 1
    assert math.isnan(quantisation_survival(0.0, 0.0, compat=OPEN).value)


def test_half_a_bin_by_hand() -> None:
    """A row up to 7 has bins of 1 in four bits: 0.4 is undone and 0.6 isn't."""
    before = np.array([[7.0, 1.0, 2.0, 3.0]])
    after = before + np.array([[0, 0.4, 0.6, 0]])
    found = round_trip(before, after, bits=4)
    assert (found.n, found.share_changed) == (2, 0.5)
    assert (found.beyond_half_bin, found.codes_changed) == (0.5, 0.5)
    assert found.kept == pytest.approx(0.6 / 0.52)
    assert found.norm_ratio == pytest.approx(1 / math.sqrt(0.52))


def test_small_changes_survive_eight_bits_and_not_four() -> None:
    """The trap of unlearning with a small learning rate: four bits bring all of it back."""
    rng = np.random.default_rng(0)
    before = rng.normal(0, 0.02, (64, 256))
    before[:, 0] = 0.06  # the scale is no part of the change
    delta = 5e-4 * rng.choice([-1.0, 1.0], before.shape)
    delta[:, 0] = 0
    before = np.clip(before, -0.055, 0.055)
    before[:, 0] = 0.06
    four, eight = (round_trip(before, before + delta, bits=b) for b in (4, 8))
    assert four.beyond_half_bin == 0
    assert eight.beyond_half_bin == 1
    assert four.codes_changed < 0.1
    assert eight.codes_changed > 0.9
    # a few codes move by a whole bin, so the mean survives and the noise is large
    assert four.norm_ratio > 2 > eight.norm_ratio


def test_a_large_change_survives() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=(16, 32))
    found = round_trip(before, before + rng.normal(size=(16, 32)), bits=8)
    assert found.codes_changed > 0.97
    assert found.kept == pytest.approx(1, abs=0.02)
    assert found.norm_ratio == pytest.approx(1, abs=0.02)


@given(weights, st.sampled_from([4, 8]))
def test_rounding_moves_nothing_beyond_half_a_bin(values: np.ndarray, bits: int) -> None:
    there = rounded(values, bits=bits)
    assert there.shape == values.shape
    rows = values.reshape(1, -1) if values.ndim < 2 else values.reshape(len(values), -1)
    bins = np.abs(rows).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    assert (np.abs(there.reshape(rows.shape) - rows) <= bins / 2 * (1 + 1e-9) + 1e-300).all()
    assert rounded(there, bits=bits) == pytest.approx(there)


@given(weights, st.sampled_from([4, 8]), st.integers(-3, 3))
def test_rounding_follows_the_scale_of_weights(values: np.ndarray, bits: int, power: int) -> None:
    scaled = rounded(values * 2.0**power, bits=bits)
    assert scaled == pytest.approx(rounded(values, bits=bits) * 2.0**power)


def test_a_row_of_zeros_stays() -> None:
    assert rounded(np.zeros((2, 3)), bits=4).tolist() == [[0] * 3] * 2


def test_no_change_has_nothing_to_survive() -> None:
    found = round_trip([1.0], [1.0], bits=4)
    assert found.n == 0
    assert math.isnan(found.kept)
    assert "no weight" in found.reasons[0]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="bits"):
        rounded([1.0], bits=3)
    with pytest.raises(InvalidRecord, match="before"):
        round_trip([1.0], [1.0, 2.0], bits=4)
    with pytest.raises(InvalidRecord, match="finite"):
        rounded([np.nan], bits=4)
    with pytest.raises(InvalidRecord, match="above 0"):
        relearn_steps([0.0, 1], [1.0, 1])
