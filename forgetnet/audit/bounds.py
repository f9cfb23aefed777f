"""Lower bounds on epsilon from attacks: what a claim of (epsilon, delta)-unlearning can't be below.

An attack can refute a claim, never prove it: "epsilon is at most so much" follows from a
construction or a proof only. Knows nothing of attacks or models; takes counts or scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from forgetnet.audit.arrays import Floats, check_share, same_length, statistics, vector
from forgetnet.audit.verdict import Verdict
from forgetnet.errors import InvalidRecord

__all__ = [
    "EpsilonBound",
    "clopper_pearson_upper",
    "epsilon_from_counts",
    "epsilon_from_scores",
    "largest_epsilon",
    "one_run_epsilon",
    "one_run_guesses",
    "zero_hits_bound",
]

_WIDEST = 100.0  # no audit shows an epsilon near this


@dataclass(frozen=True)
class EpsilonBound:
    """A lower bound on epsilon.

    Attributes:
        epsilon: the true one isn't below this, with confidence 1 - alpha.
        alpha: the chance that the bound is wrong.
        delta: of the claim.
        largest: what a perfect attack would show with as many trials.
        n: trials on the smaller side, or guesses.
        claimed: the epsilon that was claimed, if one was.
        verdict: on the claim: ``INCONSISTENT`` if the bound is above it, ``UNDERPOWERED`` if even
            a perfect attack couldn't show more, ``CONSISTENT`` otherwise; ``NOT_CHECKED`` without
            a claim.
        reasons: in plain words.
        threshold: that separated members, if scores were given.
    """

    epsilon: float
    alpha: float
    delta: float
    largest: float
    n: int
    claimed: float | None
    verdict: Verdict
    reasons: tuple[str, ...]
    threshold: float | None = None


def _check(alpha: float, delta: float, claimed: float | None) -> None:
    check_share(alpha, "alpha")
    if not 0 <= delta < 1:
        raise InvalidRecord(f"delta is 0 or more, and below 1, not {delta}")
    if claimed is not None and not claimed >= 0:
        raise InvalidRecord(f"a claimed epsilon isn't below 0: {claimed}")


def _judged(epsilon: float, largest: float, claimed: float | None) -> tuple[Verdict, str]:
    if claimed is None:
        return Verdict.NOT_CHECKED, "a lower bound; no claim was given to compare it with"
    if epsilon > claimed:
        return Verdict.INCONSISTENT, f"epsilon is over {epsilon:.3f}, claimed was {claimed:g}"
    if largest <= claimed:
        short = f"a perfect attack with as many trials shows {largest:.3f} at most"
        return Verdict.UNDERPOWERED, short
    return Verdict.CONSISTENT, "this attack didn't refute the claim; a stronger one might"


def clopper_pearson_upper(hits: int, trials: int, *, alpha: float) -> float:
    """Return the one-sided upper limit of a rate at confidence 1 - alpha (Clopper & Pearson 1934).

    Raises:
        InvalidRecord: counts that don't fit together.
        Unsupported: scipy isn't installed.
    """
    check_share(alpha, "alpha")
    if not 0 <= hits <= trials or trials < 1:
        raise InvalidRecord(f"{hits} hits in {trials} trials")
    if hits == trials:
        return 1.0
    return float(statistics().beta.ppf(1 - alpha, hits + 1, trials - hits))


def zero_hits_bound(trials: int, *, alpha: float = 0.05) -> float:
    """Return the rate that 0 hits in n trials leave possible: 1 - alpha^(1/n), about 3/n.

    Raises:
        InvalidRecord: fewer than one trial.
    """
    check_share(alpha, "alpha")
    if trials < 1:
        raise InvalidRecord("one trial at least")
    return -math.expm1(math.log(alpha) / trials)


def _epsilon(false_positive: float, false_negative: float, delta: float) -> float:
    """max(ln((1 - δ - FPR) / FNR), ln((1 - δ - FNR) / FPR), 0) (Kairouz et al. 2015)."""
    pairs = ((false_positive, false_negative), (false_negative, false_positive))
    gains = [math.log((1 - delta - a) / b) for a, b in pairs if 1 - delta - a > 0]
    return max([0.0, *gains])


def largest_epsilon(
    positives: int, negatives: int, *, alpha: float = 0.05, delta: float = 0.0
) -> float:
    """Return the bound that a perfect attack reaches: 0 errors on either side.

    Raises:
        InvalidRecord: a side without a trial.
        Unsupported: scipy isn't installed.
    """
    _check(alpha, delta, None)
    fpr, fnr = (clopper_pearson_upper(0, n, alpha=alpha / 2) for n in (negatives, positives))
    return _epsilon(fpr, fnr, delta)


def epsilon_from_counts(
    false_positives: int,
    negatives: int,
    false_negatives: int,
    positives: int,
    *,
    alpha: float = 0.05,
    delta: float = 0.0,
    claimed: float | None = None,
) -> EpsilonBound:
    """Bound epsilon from the errors of an attack whose threshold was fixed beforehand.

    Each error rate gets its Clopper-Pearson limit at alpha / 2, so that both hold at once, and
    epsilon is at least max(ln((1 - δ - FPR⁺) / FNR⁺), ln((1 - δ - FNR⁺) / FPR⁺), 0).

    Args:
        false_positives: of ``negatives`` models or examples without the data, those accused.
        negatives: trials without the data, independent of each other.
        false_negatives: of ``positives`` trials with (unlearned) data, those not accused.
        positives: trials with it.
        alpha: the chance that the bound is wrong.
        delta: of the claim.
        claimed: an epsilon to judge.

    Raises:
        InvalidRecord: counts that don't fit together, or no share where one is expected.
        Unsupported: scipy isn't installed.
    """
    _check(alpha, delta, claimed)
    fpr = clopper_pearson_upper(false_positives, negatives, alpha=alpha / 2)
    fnr = clopper_pearson_upper(false_negatives, positives, alpha=alpha / 2)
    epsilon = _epsilon(fpr, fnr, delta)
    largest = largest_epsilon(positives, negatives, alpha=alpha, delta=delta)
    verdict, reason = _judged(epsilon, largest, claimed)
    n = min(positives, negatives)
    return EpsilonBound(epsilon, alpha, delta, largest, n, claimed, verdict, (reason,))


def _best_threshold(members: Floats, others: Floats, alpha: float, delta: float) -> float:
    """Return the score from which on accusing gives the highest bound on this half."""
    best, threshold = -1.0, float("inf")
    stats = statistics()

    def limits(hits: Floats, trials: int) -> Floats:
        with np.errstate(invalid="ignore"):  # hits = trials: the limit is 1, set below
            upper = stats.beta.ppf(1 - alpha / 2, hits + 1, trials - hits)
        return np.where(hits == trials, 1.0, upper)

    values = np.unique(np.concatenate([members, others]))
    missed = np.searchsorted(np.sort(members), values, "left").astype(np.float64)
    accused = len(others) - np.searchsorted(np.sort(others), values, "left").astype(np.float64)
    fnr, fpr = limits(missed, len(members)), limits(accused, len(others))
    for value, a, b in zip(values, fpr, fnr, strict=True):
        found = _epsilon(float(a), float(b), delta)
        if found > best:
            best, threshold = found, float(value)
    return threshold


def epsilon_from_scores(
    members: npt.ArrayLike,
    others: npt.ArrayLike,
    *,
    threshold: float | None = None,
    rng: np.random.Generator | None = None,
    alpha: float = 0.05,
    delta: float = 0.0,
    claimed: float | None = None,
) -> EpsilonBound:
    """Bound epsilon from scores; a member is accused from the threshold on.

    The threshold is given, or found on a random half of each side and used on the other half:
    chosen and used on the same scores it would claim too much.

    Args:
        members: (n,) scores with the data, *higher for what is more likely a member*.
        others: (m,) scores without.
        threshold: fixed before looking at these scores.
        rng: draws the halves if there is no threshold.
        alpha: the chance that the bound is wrong.
        delta: of the claim.
        claimed: an epsilon to judge.

    Raises:
        InvalidRecord: neither threshold nor rng, a score isn't finite, or too few of them.
        Unsupported: scipy isn't installed.
    """
    _check(alpha, delta, claimed)
    inside = vector(members, "members", least=1 if threshold is not None else 2)
    outside = vector(others, "others", least=1 if threshold is not None else 2)
    if threshold is None:
        if rng is None:
            raise InvalidRecord("give a threshold fixed beforehand, or a rng that draws the halves")
        (choose_in, inside), (choose_out, outside) = (
            np.array_split(rng.permutation(side), 2) for side in (inside, outside)
        )
        threshold = _best_threshold(choose_in, choose_out, alpha, delta)
    bound = epsilon_from_counts(
        int((outside >= threshold).sum()),
        len(outside),
        int((inside < threshold).sum()),
        len(inside),
        alpha=alpha,
        delta=delta,
        claimed=claimed,
    )
    return replace(bound, threshold=threshold)


def one_run_guesses(
    scores: npt.ArrayLike, included: npt.ArrayLike, *, guesses: int
) -> tuple[int, int]:
    """Guess the highest scores in and the lowest out; return (guesses, right ones).

    How many are guessed must be fixed before the scores are seen.

    Args:
        scores: (m,) of the canaries, *higher for what is more likely in*.
        included: (m,) booleans: the coin of each canary.
        guesses: an even number, half of them for each side.

    Raises:
        InvalidRecord: an odd number of guesses, or more than canaries.
    """
    values, coins = vector(scores, "scores"), np.asarray(included, np.bool_)
    same_length(scores=values, included=coins)
    if guesses < 2 or guesses % 2 or guesses > len(values):
        raise InvalidRecord(f"an even number of guesses, {len(values)} at most, not {guesses}")
    order = np.argsort(values, kind="stable")
    half = guesses // 2
    return guesses, int((~coins[order[:half]]).sum() + coins[order[-half:]].sum())


def _one_run_p(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Return the p-value of "epsilon or less" (Steinke, Nasr & Jagielski 2023, theorem 5.2)."""
    tail, q = statistics().binom.sf, 1 / (1 + math.exp(-epsilon))
    beta = float(tail(right - 1, guesses, q))
    if not delta or not right:
        return beta
    steps = np.arange(1, right + 1)
    gains = (tail(right - steps - 1, guesses, q) - beta) / steps
    alpha = float(np.max(gains, initial=0.0))
    return min(1.0, beta + 2 * canaries * delta * alpha)


def _one_run_bound(
    canaries: int, guesses: int, right: int, alpha: float, delta: float
) -> float:
    """Return the supremum of the epsilons that are refuted, by bisection; 0 if none is."""
    if not guesses or _one_run_p(canaries, guesses, right, 0.0, delta) > alpha:
        return 0.0
    low, high = 0.0, 1.0
    while high < _WIDEST and _one_run_p(canaries, guesses, right, high, delta) <= alpha:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        if _one_run_p(canaries, guesses, right, middle, delta) <= alpha:
            low = middle
        else:
            high = middle
    return low


def one_run_epsilon(
    canaries: int,
    guesses: int,
    right: int,
    *,
    alpha: float = 0.05,
    delta: float = 0.0,
    claimed: float | None = None,
) -> EpsilonBound:
    """Bound epsilon from one training run (Steinke, Nasr & Jagielski, NeurIPS 2023).

    m canaries, each in with a fair coin; an attack guesses r of the coins and v are right.
    p(ε) = P[B >= v] + 2 m δ max_i (P[B >= v - i] - P[B >= v]) / i with B ~ Bin(r, 1 / (1 + e^-ε));
    the bound is the largest ε with p <= alpha.

    Args:
        canaries: m, all that had a coin, guessed or not.
        guesses: r, fixed beforehand; abstaining is free.
        right: v.
        alpha: the chance that the bound is wrong.
        delta: of the claim.
        claimed: an epsilon to judge.

    Raises:
        InvalidRecord: counts that don't fit together.
        Unsupported: scipy isn't installed.
    """
    _check(alpha, delta, claimed)
    if not 0 <= right <= guesses <= canaries or not canaries:
        raise InvalidRecord(f"{right} right of {guesses} guesses of {canaries} canaries")
    epsilon = _one_run_bound(canaries, guesses, right, alpha, delta)
    largest = _one_run_bound(canaries, guesses, guesses, alpha, delta)
    verdict, reason = _judged(epsilon, largest, claimed)
    return EpsilonBound(epsilon, alpha, delta, largest, guesses, claimed, verdict, (reason,))
