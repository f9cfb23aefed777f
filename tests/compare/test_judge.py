"""The verdict over seeds: what it takes for each answer, and that no single test decides alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forgetnet.audit.verdict import Verdict
from forgetnet.compare.judge import Evidence, judge, telling
from forgetnet.compare.measure import Steps

N, SEEDS = 150, 5


def told(
    level: float, *, known: float = 0.0, steps: int = 10, equal: bool | None = None
) -> list[Evidence]:
    """Evidence of some seeds: how likely answers are, how well known, how soon learnt again."""
    draw = np.random.default_rng(7)
    found = []
    for _ in range(SEEDS):
        wanted = draw.uniform(0.7, 0.9, N)
        likely = wanted - 0.8 + level + draw.normal(0.0, 0.01, N)
        ours = np.array([steps, steps + 1], np.float64)
        theirs = np.array([9.0, 10.0, 11.0, 10.0])
        scores = draw.normal(-known, 1.0, N), draw.normal(0.0, 1.0, 4 * N)
        found.append(Evidence(likely, wanted, *scores, 0.5, equal, Steps(ours, theirs)))
    return found


ORIGINAL, RETRAINED = told(0.99, known=1.0, steps=1), told(0.8)


def verdict(ours: list[Evidence], original: list[Evidence] = ORIGINAL) -> Verdict:
    return judge(ours, original, RETRAINED).verdict


def test_a_model_like_retrained_ones_is_consistent_and_the_original_is_not() -> None:
    assert verdict(told(0.8)) is Verdict.CONSISTENT
    assert verdict(ORIGINAL) is Verdict.INCONSISTENT


def test_each_test_can_find_a_model_out_alone() -> None:
    assert verdict(told(0.95)) is Verdict.INCONSISTENT
    assert verdict(told(0.8, known=0.6)) is Verdict.INCONSISTENT
    assert verdict(told(0.8, steps=2)) is Verdict.INCONSISTENT


def test_a_ruined_model_is_no_forgetful_one() -> None:
    """Also where the level doesn't tell the original, so that it could show no equivalence."""
    same = told(0.8, known=1.0, steps=1)
    assert verdict(told(0.1), same) is Verdict.INCONSISTENT
    assert verdict(told(0.8), same) is Verdict.CONSISTENT


def test_bits_decide_where_there_are_bits_to_be_equal() -> None:
    assert verdict(told(0.8, equal=True)) is Verdict.PROVEN
    assert verdict(told(0.8, equal=False)) is Verdict.INCONSISTENT
    mixed = [*told(0.8, equal=True)[1:], told(0.8, equal=False)[0]]
    assert verdict(mixed) is Verdict.INCONSISTENT


def test_tests_whose_controls_do_not_behave_say_nothing() -> None:
    assert verdict(told(0.8), RETRAINED) is Verdict.NOT_CHECKED
    broken = judge(told(0.8), ORIGINAL, ORIGINAL)
    assert broken.verdict is Verdict.NOT_CHECKED
    assert any("a second retrained model didn't pass" in reason for reason in broken.reasons)


def test_the_tests_that_can_tell_are_named() -> None:
    assert telling(ORIGINAL, RETRAINED) == ("level", "membership", "relearning")
    assert telling(told(0.8, known=1.0, steps=1), RETRAINED) == ("membership", "relearning")
    assert telling(told(0.99, steps=1), RETRAINED) == ("level", "relearning")
    assert not telling(RETRAINED, RETRAINED) and not telling(ORIGINAL, ORIGINAL)


def test_few_examples_are_too_few() -> None:
    few = [replace(one, forgotten=one.forgotten[:8], likely=one.likely[:8], wanted=one.wanted[:8])
           for one in told(0.8)]  # fmt: skip
    assert verdict(few) in {Verdict.UNDERPOWERED, Verdict.INCONSISTENT}
