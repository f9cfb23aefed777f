"""One verdict over all seeds: does a contestant know no more than models that never saw the data?

A test is believed only if a retrained model passes it, and when it finds nothing, only if the
original fails it. Knows nothing of how the numbers came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forgetnet.audit.controls import Controlled, two_controls
from forgetnet.audit.equivalence import tost
from forgetnet.audit.membership import auc, judge_auc
from forgetnet.audit.robustness import relearn_steps
from forgetnet.audit.verdict import Finding, Verdict, overall
from forgetnet.compare.contestants import Entry
from forgetnet.compare.measure import Steps, membership
from forgetnet.compare.worlds import World

__all__ = [
    "AUC_MARGIN",
    "LEAST_RATIO",
    "LEVEL_MARGIN",
    "Evidence",
    "Judgement",
    "evidence",
    "judge",
    "telling",
]

LEVEL_MARGIN = 0.05
"""Difference of mean probabilities of the right answers that counts as none."""
AUC_MARGIN = 0.05
"""Difference of AUCs of membership that counts as none."""
LEAST_RATIO = 0.5
"""Steps of relearning, over those of a retrained model, below which something was still there."""
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
        steps: to learn the forget set again; None where it has no weights.
    """

    likely: Floats = field(repr=False)
    wanted: Floats = field(repr=False)
    forgotten: Floats = field(repr=False)
    unseen: Floats = field(repr=False)
    reference: float
    equal: bool | None
    steps: Steps | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Judgement:
    """A verdict, and why, in plain words."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def evidence(world: World, entry: Entry, steps: Steps | None) -> Evidence:
    """Gather what a seed says of an entry."""
    likely = entry.ask("forget").likely()
    wanted = np.mean([twin("forget").likely() for twin in entry.twins], axis=0)
    forgotten, unseen = membership(world, entry.ask)
    reference = auc(*membership(world, entry.never)).value
    return Evidence(likely, wanted, forgotten, unseen, reference, entry.equal, steps)


def _level(told: Sequence[Evidence]) -> Finding:
    ours, theirs = (np.concatenate([getattr(e, n) for e in told]) for n in ("likely", "wanted"))
    return tost(ours, theirs, margin=LEVEL_MARGIN, paired=True).finding


def _membership(told: Sequence[Evidence]) -> Finding:
    forgotten, unseen = (np.concatenate([getattr(e, n) for e in told]) for n in _SIDES)
    reference = float(np.mean([e.reference for e in told]))
    return judge_auc(auc(forgotten, unseen), margin=AUC_MARGIN, reference=reference)


def _relearning(told: Sequence[Evidence]) -> Finding:
    steps = [one.steps for one in told if one.steps is not None]
    ours, theirs = (np.concatenate([getattr(s, n) for s in steps]) for n in ("ours", "theirs"))
    return relearn_steps(ours, theirs, least=LEAST_RATIO).finding


_SIDES = ("forgotten", "unseen")
_TESTS = {"level": _level, "membership": _membership, "relearning": _relearning}


def telling(original: Sequence[Evidence], retrained: Sequence[Evidence]) -> tuple[str, ...]:
    """Return the names of the tests that tell the original from a retrained model.

    Raises:
        Unsupported: scipy isn't installed.
    """
    found = []
    for name, test in _TESTS.items():
        controls = {"original": original, "retrained": retrained}
        if two_controls(test, unlearned=retrained, **controls).verdict is not Verdict.NOT_CHECKED:
            found.append(name)
    return tuple(found)


def _differs(checked: Controlled) -> bool:
    """Tell whether a difference was shown by a test that raises no false alarm.

    A test that doesn't fail the original can't say that something is gone; but what differs from
    retrained models differs, as a model does that was ruined.
    """
    fine = checked.retrained.verdict is Verdict.CONSISTENT
    return fine and checked.unlearned.verdict is Verdict.INCONSISTENT


def judge(
    told: Sequence[Evidence], original: Sequence[Evidence], retrained: Sequence[Evidence]
) -> Judgement:
    """Judge a contestant over its seeds, with both controls.

    ``PROVEN`` by equal bits on every seed, ``INCONSISTENT`` if bits that are to be equal differ.
    Otherwise the worst of three tests over all seeds: the mean probability of the right answers to
    the forget set, by equivalence within :data:`LEVEL_MARGIN`; the AUC of membership, within
    :data:`AUC_MARGIN`; and the steps to learn the forget set again, at least :data:`LEAST_RATIO` of
    a retrained model's. A test that fails a retrained model says nothing, and one that doesn't
    fail the original says at most that there is a difference.

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
        if checked.verdict is not Verdict.NOT_CHECKED or _differs(checked):
            found.append(checked.unlearned)
    return Judgement(overall(found), tuple(reasons))
