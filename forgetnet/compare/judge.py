"""One verdict over all seeds: does a contestant know no more than models that never saw the data?

A test counts only if the original fails it and a retrained model passes it. Knows nothing of how
the numbers came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forgetnet.audit.controls import two_controls
from forgetnet.audit.equivalence import tost
from forgetnet.audit.membership import auc, judge_auc
from forgetnet.audit.verdict import Finding, Verdict, overall
from forgetnet.compare.contestants import Entry
from forgetnet.compare.measure import membership
from forgetnet.compare.worlds import World

__all__ = ["AUC_MARGIN", "LEVEL_MARGIN", "Evidence", "Judgement", "evidence", "judge"]

LEVEL_MARGIN = 0.05
"""Difference of mean probabilities of the right answers that counts as none."""
AUC_MARGIN = 0.05
"""Difference of AUCs of membership that counts as none."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What one seed says of a contestant.

    Attributes:
        likely: (n,) probabilities of the right answers to the forget set.
        wanted: (n,) the same of models that never saw it, the mean over them.
        forgotten, unseen: scores of membership, (n,) and (m,).
        reference: AUC of a model that never saw the forget set.
        equal: whether it has its twin's bits; None where there is no twin to have them.
    """

    likely: Floats = field(repr=False)
    wanted: Floats = field(repr=False)
    forgotten: Floats = field(repr=False)
    unseen: Floats = field(repr=False)
    reference: float
    equal: bool | None


@dataclass(frozen=True)
class Judgement:
    """A verdict, and why, in plain words."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def evidence(world: World, entry: Entry) -> Evidence:
    """Gather what a seed says of an entry."""
    likely = np.exp(-entry.ask("forget").nll)
    wanted = np.mean([np.exp(-twin("forget").nll) for twin in entry.twins], axis=0)
    forgotten, unseen = membership(world, entry.ask)
    reference = auc(*membership(world, entry.never)).value
    return Evidence(likely, wanted, forgotten, unseen, reference, entry.equal)


def _level(told: Sequence[Evidence]) -> Finding:
    ours, theirs = (np.concatenate([getattr(e, n) for e in told]) for n in ("likely", "wanted"))
    return tost(ours, theirs, margin=LEVEL_MARGIN, paired=True).finding


def _membership(told: Sequence[Evidence]) -> Finding:
    forgotten, unseen = (np.concatenate([getattr(e, n) for e in told]) for n in _SIDES)
    reference = float(np.mean([e.reference for e in told]))
    return judge_auc(auc(forgotten, unseen), margin=AUC_MARGIN, reference=reference)


_SIDES = ("forgotten", "unseen")
_TESTS = {"level": _level, "membership": _membership}


def judge(
    told: Sequence[Evidence], original: Sequence[Evidence], retrained: Sequence[Evidence]
) -> Judgement:
    """Judge a contestant over its seeds, with both controls.

    ``PROVEN`` by equal bits on every seed, ``INCONSISTENT`` if bits that are to be equal differ.
    Otherwise the worst of two tests over all forgotten examples: the mean probability of the right
    answers, by equivalence within :data:`LEVEL_MARGIN`; and the AUC of membership, within
    :data:`AUC_MARGIN`. A test whose controls don't behave says nothing.

    Raises:
        Unsupported: scipy isn't installed.
    """
    bits = [one.equal for one in told]
    if all(bits):
        return Judgement(Verdict.PROVEN, (f"the twin's bits on {len(bits)} of {len(bits)} seeds",))
    if False in bits:
        same = sum(one is True for one in bits)
        return Judgement(Verdict.INCONSISTENT, (f"the twin's bits on {same} of {len(bits)} seeds",))
    found, reasons = [], []
    for name, test in _TESTS.items():
        checked = two_controls(test, original=original, unlearned=told, retrained=retrained)
        reasons += [f"{name}: {reason}" for reason in checked.reasons]
        if checked.verdict is not Verdict.NOT_CHECKED:
            found.append(checked.unlearned)
    return Judgement(overall(found), tuple(reasons))
