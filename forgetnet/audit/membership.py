"""How well membership scores tell forgotten examples from ones that no model ever saw.

Scores are *higher for what is less likely a member* (``scores``). So the AUC is 1 if everything
forgotten is still remembered, and 0.5 if nothing tells it apart; below 0.5 it was "forgotten" so
hard that this itself gives it away. What to compare with is the AUC of a retrained model. Knows
nothing of how scores are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forgetnet.audit.arrays import Compat, Floats, check_compat, check_share, vector
from forgetnet.audit.verdict import Finding, Verdict
from forgetnet.errors import InvalidRecord

__all__ = [
    "Auc",
    "Comparison",
    "TprAtFpr",
    "auc",
    "auc_sample_size",
    "judge_auc",
    "privleak",
    "rel_diff",
    "tpr_at_fpr",
]

_TINY = 1e-10  # the constant that open-unlearning adds to denominators
_Z95, _Z90 = 1.6448536269514722, 1.2815515655446004  # quantiles of the normal distribution
_Z975 = 1.959963984540054


@dataclass(frozen=True)
class Auc:
    """The chance that an unseen example scores above a forgotten one, ties by half.

    Attributes:
        value: the AUC; 1 is remembered, NaN if a side is empty.
        low, high: 95% interval by Newcombe's method 5 (Statist. Med. 25, 2006), which keeps a
            width where the AUC is 0 or 1.
        low_90, high_90: the 90% interval, which a two one-sided test at 5% looks at.
        n_forgotten, n_unseen: examples that count.
        left_out: NaN scores.
        reasons: in plain words.
    """

    value: float
    low: float
    high: float
    low_90: float
    high_90: float
    n_forgotten: int
    n_unseen: int
    left_out: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class TprAtFpr:
    """How many forgotten examples are caught while few unseen ones are accused.

    Attributes:
        tpr: share of forgotten examples caught.
        fpr: share of unseen ones accused, at most what was asked for.
        asked: the rate that was asked for.
        n_forgotten, n_unseen: examples.
        verdict: ``UNDERPOWERED`` if fewer than ten unseen examples could be accused at that rate;
            ``NOT_CHECKED`` otherwise: a rate is no verdict until compared with a retrained model.
        reasons: in plain words.
    """

    tpr: float
    fpr: float
    asked: float
    n_forgotten: int
    n_unseen: int
    verdict: Verdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A statistic of the unlearned model relative to that of a retrained one.

    Attributes:
        value: in percent; NaN if there is nothing to compare with.
        statistic, reference: what was compared.
        reasons: in plain words.
    """

    value: float
    statistic: float
    reference: float
    reasons: tuple[str, ...] = ()


def _ranked(forgotten: Floats, unseen: Floats) -> float:
    """Mann-Whitney U over nm, exact for ties."""
    ordered = np.sort(forgotten)
    below = np.searchsorted(ordered, unseen, "left").sum()
    upto = np.searchsorted(ordered, unseen, "right").sum()
    return float(below + upto) / (2 * len(forgotten) * len(unseen))


def _newcombe(value: float, n: int, m: int, z: float) -> tuple[float, float]:
    """Solve z² V(θ) = (value - θ)² on both sides of value by bisection."""
    half = (n + m) / 2

    def outside(theta: float) -> bool:
        spread = 2 * half - 1 - (3 * half - 3) / ((2 - theta) * (1 + theta))
        variance = theta * (1 - theta) * spread / (n * m)
        return (value - theta) ** 2 > z * z * variance

    def edge(end: float) -> float:
        far, near = end, value
        for _ in range(60):
            middle = (far + near) / 2
            if outside(middle):
                far = middle
            else:
                near = middle
        return far

    return edge(0.0), edge(1.0)


def auc(forgotten: npt.ArrayLike, unseen: npt.ArrayLike, *, compat: Compat = "strict") -> Auc:
    """Compute the area under the ROC curve, equal to scikit-learn's ``roc_auc_score``.

    ``open-unlearning`` refuses NaN, as scikit-learn does; ``strict`` leaves it out and counts it.

    Args:
        forgotten: (n,) scores of forgotten examples.
        unseen: (m,) scores of examples that no model saw.
        compat: see above.

    Raises:
        InvalidRecord: no score on a side, or NaN (``open-unlearning``).
    """
    check_compat(compat)
    strict = compat == "strict"
    sides = [
        vector(values, name, finite=not strict)
        for values, name in ((forgotten, "forgotten"), (unseen, "unseen"))
    ]
    known = [side[~np.isnan(side)] for side in sides]
    left_out = sum(len(side) for side in sides) - sum(len(side) for side in known)
    reasons = (f"{left_out} examples without a score were left out",) if left_out else ()
    n, m = len(known[0]), len(known[1])
    if not n or not m:
        nan = float("nan")
        return Auc(nan, nan, nan, nan, nan, n, m, left_out, (*reasons, "a side is empty"))
    value = _ranked(*known)
    wide, narrow = _newcombe(value, n, m, _Z975), _newcombe(value, n, m, _Z95)
    return Auc(value, *wide, *narrow, n, m, left_out, reasons)


def auc_sample_size(margin: float) -> int:
    """Return how many examples a side prove |AUC - 0.5| < margin (TOST at 5%, power 0.8).

    From the variance 1 / 6n of the AUC where there is no signal.

    Raises:
        InvalidRecord: a margin that isn't between 0 and 0.5.
    """
    if not 0 < margin < 0.5:
        raise InvalidRecord(f"a margin around 0.5 lies between 0 and 0.5, not {margin}")
    return math.ceil(((_Z95 + _Z90) / margin) ** 2 / 6)


def judge_auc(result: Auc, *, margin: float, reference: float = 0.5) -> Finding:
    """Say whether an AUC lies within a margin of a reference: both sides are tested.

    ``CONSISTENT`` if the 90% interval lies within the margin (TOST at 5%), ``INCONSISTENT`` if the
    95% interval lies outside of it, ``UNDERPOWERED`` otherwise.

    Args:
        result: of ``auc``.
        margin: what counts as no difference; state it before looking.
        reference: the AUC of a retrained model on the same examples. Its own error isn't counted:
            give the mean over several.

    Raises:
        InvalidRecord: a margin that isn't between 0 and 0.5.
    """
    needed = auc_sample_size(margin)
    n = min(result.n_forgotten, result.n_unseen)
    numbers = {
        "auc": result.value,
        "low": result.low,
        "high": result.high,
        "reference": reference,
        "margin": margin,
        "n_needed": needed,
    }
    if math.isnan(result.value):
        return Finding("auc", Verdict.NOT_CHECKED, n, numbers, result.reasons)
    interval = f"95% interval of the AUC: {result.low:.3f} to {result.high:.3f}"
    if reference - margin < result.low_90 and result.high_90 < reference + margin:
        return Finding("auc", Verdict.CONSISTENT, n, numbers, (*result.reasons, interval))
    if result.low > reference + margin or result.high < reference - margin:
        side = "still remembered" if result.value > reference else "forgotten too hard: it shows"
        return Finding("auc", Verdict.INCONSISTENT, n, numbers, (*result.reasons, interval, side))
    wanted = f"about {needed} examples a side could show {margin:g}; the smaller side has {n}"
    return Finding("auc", Verdict.UNDERPOWERED, n, numbers, (*result.reasons, interval, wanted))


def tpr_at_fpr(
    forgotten: npt.ArrayLike, unseen: npt.ArrayLike, *, fpr: float = 0.001
) -> TprAtFpr:
    """Accuse every score up to the highest threshold that accuses at most a share of the unseen.

    Scores that are equal are accused together. There is no interpolation: with fewer than 1 / fpr
    unseen examples none of them may be accused. The threshold is chosen on the same scores, so
    the rate is a little too good for the attacker.

    Raises:
        InvalidRecord: a score isn't finite, or fpr isn't between 0 and 1.
    """
    check_share(fpr, "fpr")
    caught, spared = vector(forgotten, "forgotten"), np.sort(vector(unseen, "unseen"))
    allowed = math.floor(round(fpr * len(spared), 9))
    # scores below the first unseen one that may not be accused
    limit = spared[allowed] if allowed < len(spared) else np.inf
    accused = int((spared < limit).sum())
    verdict, reasons = Verdict.NOT_CHECKED, ("compare with the rate of a retrained model",)
    if fpr * len(spared) < 10:
        verdict = Verdict.UNDERPOWERED
        wanted = math.ceil(round(10 / fpr, 6))
        reasons = (f"a rate of {fpr:g} wants {wanted} unseen examples; there are {len(spared)}",)
    return TprAtFpr(
        float((caught < limit).mean()),
        accused / len(spared),
        fpr,
        len(caught),
        len(spared),
        verdict,
        reasons,
    )


def privleak(
    statistic: float, retrained: float | None = None, *, compat: Compat = "strict"
) -> Comparison:
    """Compare the AUC of an unlearned model with that of a retrained one, in percent (MUSE).

    Below 0 it is more remembered than by the retrained model, above 0 less.

    ``open-unlearning``: ((1 - AUC) - (1 - AUC_r)) / (1 - AUC_r + 1e-10) x 100, with AUC_r = 0.5 if
    there is none. It explodes as AUC_r nears 1: 0.5 against 0.98 gives 2400. ``strict`` divides by
    the room there is on that side, 1 - AUC_r below 0 and AUC_r above: the same number for what is
    remembered, and -100 to 100 for all. Without a retrained model it has no value.

    Raises:
        InvalidRecord: an AUC isn't between 0 and 1.
    """
    check_compat(compat)
    for value in (statistic, retrained):
        if value is not None and not 0 <= value <= 1:
            raise InvalidRecord(f"an AUC lies between 0 and 1, not {value}")
    if compat == "open-unlearning":
        score, ref = 1 - statistic, 1 - (0.5 if retrained is None else retrained)
        reasons = ("0.5 was taken for the retrained model",) if retrained is None else ()
        return Comparison((score - ref) / (ref + _TINY) * 100, statistic, 1 - ref, reasons)
    if retrained is None:
        return Comparison(math.nan, statistic, math.nan, ("no AUC of a retrained model",))
    room = 1 - retrained if statistic > retrained else retrained
    change = 0.0 if statistic == retrained else (retrained - statistic) / room * 100
    return Comparison(change, statistic, retrained)


def rel_diff(
    statistic: float, retrained: float | None = None, *, compat: Compat = "strict"
) -> Comparison:
    """Return (statistic - retrained) / retrained x 100.

    ``open-unlearning`` adds 1e-10 below, so that a reference of 0 gives up to 10^12, and takes 0.5
    where there is none; ``strict`` has no value in either case.

    Raises:
        InvalidRecord: a statistic isn't finite.
    """
    check_compat(compat)
    given = [statistic] if retrained is None else [statistic, retrained]
    vector(given, "statistic and retrained")
    if compat == "open-unlearning":
        ref = 0.5 if retrained is None else retrained
        reasons = ("0.5 was taken for the retrained model",) if retrained is None else ()
        return Comparison((statistic - ref) / (ref + _TINY) * 100, statistic, ref, reasons)
    if not retrained:
        why = "no statistic of a retrained model" if retrained is None else "the reference is 0"
        return Comparison(math.nan, statistic, math.nan if retrained is None else 0.0, (why,))
    return Comparison((statistic - retrained) / abs(retrained) * 100, statistic, retrained)
