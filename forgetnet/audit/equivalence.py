"""Is an unlearned model like a retrained one? Tests that can say yes, no, or too little data.

A p-value above 0.05 says that no difference was found, never that there is none: with 40 examples
a Kolmogorov-Smirnov test overlooks half a standard deviation two times in three. So a "consistent"
here always rests on a margin, stated before looking or measured between retrained models. Knows
nothing of models; takes one number an example.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forgetnet.audit.arrays import (
    Compat,
    Floats,
    check_compat,
    check_share,
    same_length,
    statistics,
    vector,
)
from forgetnet.audit.verdict import Finding, Verdict
from forgetnet.errors import InvalidRecord

__all__ = [
    "ForgetQuality",
    "Holm",
    "Margin",
    "Tost",
    "equal_bits",
    "forget_quality",
    "holm",
    "margin_between",
    "minimum_detectable_effect",
    "tost",
    "tost_power",
    "tost_sample_size",
]


@dataclass(frozen=True)
class ForgetQuality:
    """The two-sample Kolmogorov-Smirnov test between two models.

    Attributes:
        p_value: NaN if there is no retrained model.
        distance: the largest gap between the two distributions, D.
        at_most: an upper limit of the true gap at 1 - alpha.
        floor: the least p-value that so many examples can give. It is no measure of how bad.
        n, m: examples of the unlearned and of the retrained model.
        verdict: see ``forget_quality``.
        reasons: in plain words.
    """

    p_value: float
    distance: float
    at_most: float
    floor: float
    n: int
    m: int
    verdict: Verdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Margin:
    """How far retrained models lie from each other.

    Attributes:
        value: the quantile of the distances; NaN if there are too few.
        n: distances.
        verdict: ``UNDERPOWERED`` if so few can't have such a quantile, ``NOT_CHECKED`` otherwise.
        reasons: in plain words.
    """

    value: float
    n: int
    verdict: Verdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tost:
    """Two one-sided t-tests: is the difference of means smaller than a margin?

    Attributes:
        finding: the verdict, with its numbers and reasons.
        difference: mean of the unlearned minus mean of the retrained model.
        low, high: its interval at 1 - 2 alpha; within the margin is what the test asks.
        p_value: of the test of equivalence: low is good.
        p_difference: of the two-sided test of difference, for ``holm``.
        margin: that was tested.
        power: the chance of "consistent" if the true difference were 0 with this spread.
        smallest_difference: what a test of difference would find four times in five.
        n, m: examples.
    """

    finding: Finding
    difference: float
    low: float
    high: float
    p_value: float
    p_difference: float
    margin: float
    power: float
    smallest_difference: float
    n: int
    m: int


@dataclass(frozen=True)
class Holm:
    """Several tests of difference at once.

    Attributes:
        adjusted: p-values by name, each to be compared with alpha.
        rejected: the names whose difference stands.
        alpha: the chance of even one false alarm.
        n: tests.
    """

    adjusted: Mapping[str, float]
    rejected: tuple[str, ...]
    alpha: float
    n: int


def equal_bits(unlearned: bytes, retrained: bytes) -> Finding:
    """Compare two digests: the only check that proves, and only for an exact path.

    Two models of equal bits are one model, if digests are of all that answers and of a
    collision-resistant hash. Weights alone can't tell how they came about (Thudi et al. 2022).

    Raises:
        InvalidRecord: a digest is empty.
    """
    if not unlearned or not retrained:
        raise InvalidRecord("a digest is empty; hash the whole state of each model")
    if unlearned == retrained:
        return Finding("equal_bits", Verdict.PROVEN, 1, {}, ("the digests are equal",))
    reason = "the digests differ: this is not the model retrained without the data"
    return Finding("equal_bits", Verdict.INCONSISTENT, 1, {}, (reason,))


def forget_quality(
    unlearned: npt.ArrayLike,
    retrained: npt.ArrayLike | None,
    *,
    margin: float | None = None,
    alpha: float = 0.05,
    compat: Compat = "strict",
) -> ForgetQuality:
    """Compare truth ratios of an unlearned and a retrained model (TOFU).

    The p-value is ``scipy.stats.ks_2samp``'s. ``open-unlearning`` stops there: no verdict.
    ``strict`` adds the verdict: ``INCONSISTENT`` if p < alpha (no margin) or if the gap surely
    exceeds the margin, ``CONSISTENT`` if it surely doesn't, by D ± the two widths of
    Dvoretzky-Kiefer-Wolfowitz-Massart, ``UNDERPOWERED`` if the examples can't tell. Without a
    margin a high p-value is ``NOT_CHECKED``.

    Args:
        unlearned: (n,) ``TruthRatio.ratios`` of the forgotten examples.
        retrained: (m,) of the same in a retrained model; None: there is none.
        margin: the gap between distribution functions that counts as none, 0 to 1.
        alpha: of the verdict.
        compat: see above.

    Raises:
        InvalidRecord: a ratio is NaN, or a margin isn't between 0 and 1.
        Unsupported: scipy isn't installed.
    """
    check_compat(compat)
    check_share(alpha, "alpha")
    if margin is not None:
        check_share(margin, "margin")
    ours = vector(unlearned, "unlearned", finite=False)
    if retrained is None:
        nan, why = math.nan, ("there is no retrained model to compare with",)
        return ForgetQuality(nan, nan, nan, nan, len(ours), 0, Verdict.NOT_CHECKED, why)
    theirs = vector(retrained, "retrained", finite=False)
    if np.isnan(ours).any() or np.isnan(theirs).any():
        raise InvalidRecord("leave out examples without a truth ratio, the same in both models")
    n, m = len(ours), len(theirs)
    with warnings.catch_warnings():
        # where scipy fails to count exactly, as for p near 1, it warns and takes the limit law
        warnings.simplefilter("ignore", RuntimeWarning)
        test = statistics().ks_2samp(ours, theirs)
    p, distance = float(test.pvalue), float(test.statistic)
    floor = 2 / math.comb(n + m, n)
    # each side gets half of alpha: P(sup|F_n - F| > w) <= 2 exp(-2 n w²)
    width = sum(math.sqrt(math.log(4 / alpha) / (2 * count)) for count in (n, m))
    at_most = min(1.0, distance + width)
    reasons: tuple[str, ...] = ()
    verdict = Verdict.NOT_CHECKED
    if compat == "open-unlearning":
        reasons = ("a p-value is no verdict",)
    elif margin is None and p < alpha:
        verdict, reasons = Verdict.INCONSISTENT, ("the distributions differ",)
        if p <= floor * (1 + 1e-9):
            reasons = (*reasons, "p is the least that so many examples can give")
    elif margin is None:
        reasons = ("no difference was found, which shows nothing without a margin",)
    elif at_most <= margin:
        verdict, reasons = Verdict.CONSISTENT, (f"the gap is at most {at_most:.3f}",)
    elif distance - width > margin:
        verdict, reasons = Verdict.INCONSISTENT, (f"the gap is over {distance - width:.3f}",)
    else:
        verdict = Verdict.UNDERPOWERED
        needed = math.ceil(2 * math.log(4 / alpha) / margin**2)
        reasons = (f"over {needed} examples a side are needed to show {margin:g}",)
    return ForgetQuality(p, distance, at_most, floor, n, m, verdict, reasons)


def margin_between(distances: npt.ArrayLike, *, quantile: float = 0.95) -> Margin:
    """Return the quantile of distances between pairs of retrained models, as a margin.

    It is the smallest distance that a share ``quantile`` doesn't exceed, so at least
    1 / (1 - quantile) - 1 distances are needed: 19 for 0.95, of 7 models or more. Pairs of few
    models aren't independent; the margin is then rougher than the number of pairs suggests.

    Raises:
        InvalidRecord: a distance is below 0 or isn't finite.
    """
    check_share(quantile, "quantile")
    values = np.sort(vector(distances, "distances"))
    if values[0] < 0:
        raise InvalidRecord("a distance isn't below 0")
    place = math.ceil(round(quantile * (len(values) + 1), 9))
    if place > len(values):
        needed = math.ceil(round(quantile / (1 - quantile), 9))
        reason = f"{needed} distances between retrained models are needed, not {len(values)}"
        return Margin(math.nan, len(values), Verdict.UNDERPOWERED, (reason,))
    return Margin(float(values[place - 1]), len(values), Verdict.NOT_CHECKED)


def _spread(a: Floats, b: Floats, *, paired: bool) -> tuple[float, float, float]:
    """Return difference of means, its standard error and degrees of freedom (Welch)."""
    if paired:
        gaps = a - b
        return float(gaps.mean()), float(gaps.std(ddof=1)) / math.sqrt(len(gaps)), len(gaps) - 1
    shares = [float(side.var(ddof=1)) / len(side) for side in (a, b)]
    total = sum(shares)
    weights = [s * s / (len(side) - 1) for s, side in zip(shares, (a, b), strict=True)]
    freedom = total * total / sum(weights) if sum(weights) else len(a) + len(b) - 2
    return float(a.mean() - b.mean()), math.sqrt(total), freedom


def tost_power(error: float, freedom: float, margin: float, *, alpha: float = 0.05) -> float:
    """Return the chance that TOST shows equivalence if the true difference is 0.

    2 F(Δ / se - t) - 1 with F the t distribution, and 0 if that is below: Schuirmann 1987, by the
    central t distribution.

    Raises:
        Unsupported: scipy isn't installed.
    """
    if not error:
        return 1.0
    law = statistics().t(freedom)
    return max(0.0, 2 * float(law.cdf(margin / error - law.ppf(1 - alpha))) - 1)


def tost_sample_size(
    deviation: float, margin: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Return how many examples a side let TOST show equivalence, if the true difference is 0.

    n = 2 (z_{1-alpha} + z_{(1+power)/2})² (sd / margin)², for two samples.

    Raises:
        InvalidRecord: what should be above 0 isn't.
        Unsupported: scipy isn't installed.
    """
    if deviation <= 0 or margin <= 0:
        raise InvalidRecord("a standard deviation and a margin above 0")
    normal = statistics().norm
    z = float(normal.ppf(1 - alpha) + normal.ppf((1 + power) / 2))
    return math.ceil(2 * (z * deviation / margin) ** 2)


def minimum_detectable_effect(error: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the difference that a two-sided test finds with a chance of ``power``.

    (z_{1-alpha/2} + z_power) x standard error.

    Raises:
        Unsupported: scipy isn't installed.
    """
    normal = statistics().norm
    return float(normal.ppf(1 - alpha / 2) + normal.ppf(power)) * error


def tost(
    unlearned: npt.ArrayLike,
    retrained: npt.ArrayLike,
    *,
    margin: float,
    paired: bool = False,
    alpha: float = 0.05,
) -> Tost:
    """Test whether two means differ by less than a margin: two one-sided Welch t-tests.

    ``CONSISTENT`` if both one-sided tests reject, ``INCONSISTENT`` if the interval at 1 - alpha
    lies outside the margin, ``UNDERPOWERED`` otherwise. Means can agree while a model still knows:
    add ``shadow.order_kept`` or an AUC.

    Args:
        unlearned: (n,) a statistic of the examples in the unlearned model, such as the NLL.
        retrained: (m,) in a retrained model.
        margin: what counts as no difference, in the unit of the statistic; ``margin_between``
            measures one.
        paired: the examples are the same, in the same order.
        alpha: of each side.

    Raises:
        InvalidRecord: fewer than two examples, a value isn't finite, or a margin isn't above 0.
        Unsupported: scipy isn't installed.
    """
    check_share(alpha, "alpha")
    if not margin > 0 or math.isinf(margin):
        raise InvalidRecord(f"a margin is finite and above 0, not {margin}")
    a, b = vector(unlearned, "unlearned", least=2), vector(retrained, "retrained", least=2)
    if paired:
        same_length(unlearned=a, retrained=b)
    gap, error, freedom = _spread(a, b, paired=paired)
    if error:
        law = statistics().t(freedom)
        p = float(max(law.sf((gap + margin) / error), law.cdf((gap - margin) / error)))
        p_difference = float(2 * law.sf(abs(gap) / error))
        half, wide = (float(law.ppf(1 - share)) * error for share in (alpha, alpha / 2))
    else:  # no spread at all: the difference is what it is
        p, p_difference, half, wide = float(abs(gap) >= margin), float(gap == 0), 0.0, 0.0
    low, high = gap - half, gap + half
    power = tost_power(error, freedom, margin, alpha=alpha)
    numbers = {"difference": gap, "low": low, "high": high, "p": p, "margin": margin}
    reason = f"difference {gap:.4g}, interval {low:.4g} to {high:.4g}, margin {margin:.4g}"
    reasons: tuple[str, ...] = (reason,)
    if p < alpha:
        verdict = Verdict.CONSISTENT
    elif abs(gap) - wide > margin:
        verdict = Verdict.INCONSISTENT
    else:
        verdict = Verdict.UNDERPOWERED
        reasons = (reason, f"chance to show equivalence, were it so: {power:.2f}")
    finding = Finding("tost", verdict, min(len(a), len(b)), {**numbers, "power": power}, reasons)
    smallest = minimum_detectable_effect(error, alpha=alpha)
    return Tost(
        finding, gap, low, high, p, p_difference, margin, power, smallest, len(a), len(b)
    )


def holm(p_values: Mapping[str, float], *, alpha: float = 0.05) -> Holm:
    """Correct several tests of difference for being several (Holm 1979).

    Holds under any dependence of the tests. For tests of equivalence none is needed: there all
    must pass (``verdict.overall``).

    Raises:
        InvalidRecord: no p-value, or one that isn't between 0 and 1.
    """
    check_share(alpha, "alpha")
    if not p_values or any(not 0 <= p <= 1 for p in p_values.values()):
        raise InvalidRecord("p-values lie between 0 and 1, and there is at least one")
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = highest
    rejected = tuple(name for name, p in adjusted.items() if p <= alpha)
    return Holm(adjusted, rejected, alpha, len(p_values))
