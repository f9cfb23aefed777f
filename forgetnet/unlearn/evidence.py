"""What collected numbers say of one model beside retrained ones, test by test.

Each function prepares a test against retrained models; the test takes what one model said and
returns a finding, so that it can be held against its two controls. Numbers named ``p_beyond`` are
p-values of lying beyond the margin, for Holm's correction. Knows nothing of models or of how they
are run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from forgetnet.audit.arrays import Floats, statistics
from forgetnet.audit.equivalence import forget_quality, tost
from forgetnet.audit.membership import Auc, auc, judge_auc
from forgetnet.audit.quality import exact_memorisation
from forgetnet.audit.retrain import RetrainEquivalence, retrain_equivalence
from forgetnet.audit.robustness import relearn_steps
from forgetnet.audit.scores import gradnorm_scores, loss_scores, min_k_scores
from forgetnet.audit.verdict import Finding, Verdict
from forgetnet.declared import check_declared
from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.collect import Collected

__all__ = [
    "ATTACKS",
    "Margins",
    "Seen",
    "Test",
    "attack",
    "beyond",
    "distribution",
    "equivalence",
    "memorised",
    "no_worse",
    "probability",
    "relearned",
]

Seen: TypeAlias = Mapping[str, Collected]
"""What one model said, by set: ``forget``, ``retain``, ``holdout``, ``paraphrase``."""
Test: TypeAlias = Callable[[Seen], Finding]


@dataclass(frozen=True)
class Margins:
    """What counts as no difference from a retrained model; state it before looking.

    How far the mean loss may lie is not among them: that is measured between retrained models.

    Attributes:
        auc: of an attack; 0.1 wants about 150 examples a side, 0.05 about 600.
        share: of what is answered right, and of its probability, on forgotten examples.
        utility: of the probability of right answers on other examples; only less counts.
        distribution: the gap between two distribution functions; 0.25 wants 150 examples.
    """

    auc: float = 0.1
    share: float = 0.1
    utility: float = 0.05
    distribution: float = 0.25

    def __post_init__(self) -> None:
        check_declared(self)
        given = (self.auc, self.share, self.utility, self.distribution)
        if not all(0 < value < 0.5 for value in given):
            raise InvalidRecord("margins lie between 0 and 0.5")


def _loss(found: Collected) -> Floats:
    return loss_scores(found.nll)


def _min_k(found: Collected) -> Floats:
    return min_k_scores(found.z)  # the rows are scaled already: that makes it Min-K%++


def _gradient(found: Collected) -> Floats:
    if found.gradient is None:
        raise InvalidRecord("no gradients were collected")
    return gradnorm_scores(found.gradient[:, None])


ATTACKS: Mapping[str, Callable[[Collected], Floats]] = {
    "loss attack": _loss,
    "min-k++ attack": _min_k,
    "gradient attack": _gradient,
}
"""Membership scores by the name of their row; higher is less likely a member."""


def beyond(gap: float, error: float, freedom: float, margin: float) -> float:
    """Return the two-sided p-value of a difference of more than a margin, by Student's t."""
    if not error:
        return float(abs(gap) <= margin)
    return min(1.0, 2 * float(statistics().t.sf((abs(gap) - margin) / error, freedom)))


def _beyond_auc(found: Auc, reference: float, margin: float) -> float:
    """Return the p-value that agrees with the 95% interval; normal, as that is."""
    edge = found.low if found.value > reference else found.high
    error = abs(found.value - edge) / float(statistics().norm.ppf(0.975))
    return beyond(found.value - reference, error, math.inf, margin)


def attack(
    name: str, references: Sequence[Seen], margin: float
) -> tuple[Test, Callable[[Seen], float]]:
    """Prepare a membership attack: forgotten against unseen, beside the AUC of retrained models.

    Returns the test, and what gives a model's AUC.
    """
    score = ATTACKS[name]

    def area(seen: Seen) -> float:
        return auc(score(seen["forget"]), score(seen["holdout"])).value

    reference = float(np.mean([area(seen) for seen in references]))

    def test(seen: Seen) -> Finding:
        found = auc(score(seen["forget"]), score(seen["holdout"]))
        judged = judge_auc(found, margin=margin, reference=reference)
        numbers = {**judged.numbers, "p_beyond": _beyond_auc(found, reference, margin)}
        return Finding(name, judged.verdict, judged.n, numbers, judged.reasons)

    return test, area


def _paired(
    name: str, ours: Floats, theirs: Floats, margin: float, alpha: float, *, loss_only: bool = False
) -> Finding:
    """Test that paired means are within a margin or, with ``loss_only``, no further below."""
    if len(ours) < 2:
        return Finding(name, Verdict.UNDERPOWERED, len(ours), {}, ("one example has no spread",))
    found = tost(ours, theirs, margin=margin, paired=True, alpha=alpha)
    n, law = found.n, statistics().t(found.n - 1)
    error = (found.high - found.difference) / float(law.ppf(1 - alpha))
    p = beyond(found.difference, error, n - 1, margin)
    verdict = found.finding.verdict
    if loss_only:
        p = 1.0 if found.difference >= 0 else p / 2
        if found.low > -margin:
            verdict = Verdict.CONSISTENT
        else:
            worse = found.high < -margin
            verdict = Verdict.INCONSISTENT if worse else Verdict.UNDERPOWERED
    reasons, fewest = found.finding.reasons, math.ceil(round(-math.log(alpha) / margin, 9))
    if n < fewest and verdict is Verdict.CONSISTENT:
        # even if all agree, a share of ln(1/alpha)/n that doesn't may have been missed
        verdict = Verdict.UNDERPOWERED
        reasons = (*reasons, f"{fewest} examples are the fewest that can show {margin:g}, not {n}")
    numbers = {**found.finding.numbers, "smallest_difference": found.smallest_difference}
    return Finding(name, verdict, n, {**numbers, "p_beyond": p}, reasons)


def _mean_of(references: Sequence[Floats]) -> Floats:
    return np.asarray(np.mean(np.stack(references), axis=0), np.float64)


def memorised(
    references: Sequence[Seen], margin: float, alpha: float
) -> tuple[Test, Callable[[Seen], float]]:
    """Prepare a look at what is answered right: the likeliest class, or the share of tokens.

    It sees neither probabilities nor losses, so hiding those doesn't help.
    """

    def shares(seen: Seen) -> Floats:
        return exact_memorisation(seen["forget"].matches).per_example

    theirs = _mean_of([shares(seen) for seen in references])

    def test(seen: Seen) -> Finding:
        return _paired("memorised answers", shares(seen), theirs, margin, alpha)

    return test, lambda seen: float(shares(seen).mean())


def probability(
    side: str, references: Sequence[Seen], margin: float, alpha: float
) -> tuple[Test, Callable[[Seen], float]]:
    """Prepare a look at the probability of right answers, the geometric mean over tokens."""
    theirs = _mean_of([seen[side].confidence for seen in references])

    def test(seen: Seen) -> Finding:
        return _paired(side, seen[side].confidence, theirs, margin, alpha)

    return test, lambda seen: float(seen[side].confidence.mean())


def no_worse(
    side: str, original: Seen, references: Sequence[Seen], margin: float, alpha: float
) -> tuple[Test, Callable[[Seen], float]]:
    """Prepare a look at utility: the probability of right answers, where only less is worse.

    Less than the original or than retrained models, whichever are less sure: retrained models may
    know fewer data better, and that is no loss of the unlearned one.
    """
    theirs = _mean_of([seen[side].confidence for seen in references])
    before = original[side].confidence
    lower = before if before.mean() < theirs.mean() else theirs

    def test(seen: Seen) -> Finding:
        ours = seen[side].confidence
        return _paired(f"{side} utility", ours, lower, margin, alpha, loss_only=True)

    return test, lambda seen: float(seen[side].confidence.mean())


def equivalence(
    original: Seen, references: Sequence[Seen], alpha: float
) -> tuple[Test, Callable[[Seen], float]]:
    """Prepare ``audit.retrain``: level, rank and order of the losses of forgotten examples.

    Three retrained models, besides the control, are the least; 7 measure a margin; 39 let all
    three of its parts say what they can.
    """
    worlds = np.stack([seen["forget"].nll for seen in references], axis=1)

    def test(seen: Seen) -> Finding:
        if min(worlds.shape) < 3:
            n, k = worlds.shape
            why = f"3 examples and 3 retrained models besides the control at least, not {n} and {k}"
            return Finding("retrain equivalence", Verdict.UNDERPOWERED, len(worlds), {}, (why,))
        ours = seen["forget"].nll
        found = retrain_equivalence(original["forget"].nll, ours, worlds, alpha=alpha)
        numbers = {**_levels(found), "p_beyond": _p_of(found, alpha)}
        return Finding("retrain equivalence", found.verdict, found.n, numbers, found.reasons)

    return test, lambda seen: float(seen["forget"].nll.mean())


def _levels(found: RetrainEquivalence) -> dict[str, float]:
    numbers = {
        "margin": found.margin.value,
        "p_rank": found.rank.p_value,
        "p_order": found.order.finding.numbers["p"],
        "order": found.order.correlation,
        "retrained_models": float(found.models),
    }
    if found.level is not None:
        numbers["difference"] = found.level.difference
        numbers["power"] = found.level.power
        numbers["smallest_difference"] = found.level.smallest_difference
    return numbers


def _p_of(found: RetrainEquivalence, alpha: float) -> float:
    """Return one p-value of its parts: three times the least (Bonferroni)."""
    parts = [found.rank.p_value, found.order.finding.numbers["p"]]
    if (level := found.level) is not None:
        law = statistics().t(level.n - 1)
        error = (level.high - level.difference) / float(law.ppf(1 - alpha))
        parts.append(beyond(level.difference, error, level.n - 1, level.margin))
    return min(1.0, 3 * min(parts))


def distribution(
    references: Sequence[Seen], margin: float, alpha: float
) -> tuple[Test, Callable[[Seen], float]]:
    """Prepare forget quality: the distribution of losses beside that of one retrained model."""
    theirs = references[0]["forget"].nll

    def test(seen: Seen) -> Finding:
        found = forget_quality(seen["forget"].nll, theirs, margin=margin, alpha=alpha)
        # by the same bound of Dvoretzky-Kiefer-Wolfowitz-Massart as the verdict
        over = max(0.0, found.distance - margin) / (found.n**-0.5 + found.m**-0.5)
        numbers = {
            "distance": found.distance,
            "at_most": found.at_most,
            "margin": margin,
            "p_equal": found.p_value,
            "p_beyond": min(1.0, 4 * math.exp(-2 * over**2)),
        }
        return Finding("forget quality", found.verdict, found.n, numbers, found.reasons)

    def gap(seen: Seen) -> float:
        if seen is references[0]:  # its distance from itself says nothing
            return math.nan
        return forget_quality(seen["forget"].nll, theirs, margin=margin, alpha=alpha).distance

    return test, gap


def relearned(
    name: str, theirs: Sequence[int], limit: int, alpha: float
) -> Callable[[Sequence[int]], Finding]:
    """Prepare the comparison of relearning: steps of a model, a run each, with the retrained's."""

    def test(ours: Sequence[int]) -> Finding:
        found = relearn_steps(ours, theirs, alpha=alpha).finding
        numbers = {**found.numbers, "p_beyond": _beyond_steps(ours, theirs, found)}
        reasons = found.reasons
        if min(*ours, *theirs) == limit:
            reasons = (*reasons, f"no run came back within {limit} steps; more might")
        return Finding(name, found.verdict, found.n, numbers, reasons)

    return test


def _beyond_steps(ours: Sequence[int], theirs: Sequence[int], found: Finding) -> float:
    """Return the p-value of a ratio below the least: Welch's, for means of logarithms."""
    logs = [np.log(np.asarray(side, np.float64)) for side in (ours, theirs)]
    shares = [float(side.var(ddof=1)) / len(side) for side in logs]
    gap = math.log(found.numbers["ratio"]) - math.log(found.numbers["least"])
    if not sum(shares):
        return float(gap >= 0)
    parts = (s * s / (len(side) - 1) for s, side in zip(shares, logs, strict=True))
    freedom = sum(shares) ** 2 / sum(parts)
    return 1.0 if gap >= 0 else beyond(gap, math.sqrt(sum(shares)), freedom, 0.0)
