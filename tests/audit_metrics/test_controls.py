"""A test whose controls don't behave says nothing, whatever it says."""

from __future__ import annotations

import numpy as np

from forgetnet.audit.controls import two_controls
from forgetnet.audit.equivalence import equal_bits
from forgetnet.audit.membership import auc, judge_auc
from forgetnet.audit.verdict import Finding, Verdict


def scores(shift: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of forgotten and of unseen examples; a shift is how much is remembered."""
    rng = np.random.default_rng(seed)
    return rng.normal(-shift, 1, n), rng.normal(0, 1, n)


def by_auc(sides: tuple[np.ndarray, np.ndarray]) -> Finding:
    return judge_auc(auc(*sides), margin=0.1)


def test_both_controls_behave_and_the_verdict_stands() -> None:
    good = two_controls(
        by_auc, original=scores(3, 400, 0), unlearned=scores(0, 400, 1), retrained=scores(0, 400, 2)
    )
    assert good.verdict is Verdict.CONSISTENT
    assert good.n == 400
    bad = two_controls(
        by_auc, original=scores(3, 400, 0), unlearned=scores(3, 400, 1), retrained=scores(0, 400, 2)
    )
    assert bad.verdict is Verdict.INCONSISTENT


def test_a_test_that_passes_the_original_has_no_power() -> None:
    found = two_controls(
        by_auc, original=scores(0, 400, 0), unlearned=scores(0, 400, 1), retrained=scores(0, 400, 2)
    )
    assert found.unlearned.verdict is Verdict.CONSISTENT
    assert found.verdict is Verdict.NOT_CHECKED
    assert "no power" in found.reasons[0]


def test_a_test_that_fails_a_retrained_model_raises_false_alarms() -> None:
    found = two_controls(
        by_auc, original=scores(3, 400, 0), unlearned=scores(3, 400, 1), retrained=scores(2, 400, 2)
    )
    assert found.unlearned.verdict is Verdict.INCONSISTENT
    assert found.verdict is Verdict.NOT_CHECKED
    assert "didn't pass" in found.reasons[0]


def test_few_examples_leave_the_controls_underpowered() -> None:
    found = two_controls(
        by_auc, original=scores(1, 8, 0), unlearned=scores(0, 8, 1), retrained=scores(0, 8, 2)
    )
    assert found.verdict is Verdict.NOT_CHECKED
    assert len(found.reasons) == 2
    assert "underpowered" in found.reasons[1]


def test_the_exact_path_has_controls_too() -> None:
    worlds = {"original": b"a", "unlearned": b"b", "retrained": b"b"}
    assert two_controls(lambda d: equal_bits(d, b"b"), **worlds).verdict is Verdict.PROVEN
    blind = two_controls(lambda _: equal_bits(b"b", b"b"), **worlds)
    assert blind.verdict is Verdict.NOT_CHECKED
