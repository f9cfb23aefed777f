"""Membership inference with shadow models: LiRA, RMIA, U-LiRA, and whose order was kept.

Takes what shadow models said of each example, as arrays. Scores here are *higher for what is more
likely a member*. Knows nothing of models or of how shadows are trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from forgetnet.audit.arrays import Floats, matrix, same_length, vector
from forgetnet.audit.membership import Auc, auc, judge_auc
from forgetnet.audit.verdict import Finding, Verdict
from forgetnet.errors import InvalidRecord

__all__ = [
    "FEWEST_SHADOWS",
    "OrderKept",
    "ULira",
    "lira_offline",
    "lira_online",
    "logit_confidence",
    "order_kept",
    "rmia",
    "u_lira",
]

FEWEST_SHADOWS = 16
"""Shadow models a side below which one variance serves all examples: with 16, a standard
deviation is off by 18%."""
_LEAST_VARIANCE = 1e-30
Variance = Literal["auto", "own", "pooled"]


@dataclass(frozen=True, eq=False)
class ULira:
    """What U-LiRA found: models that unlearned an example against models that never had it.

    Attributes:
        finding: the verdict on the AUC around 0.5, with its numbers and reasons.
        auc: of the scores, with its interval.
        unlearned_scores: (n,) of the examples in the unlearned model.
        retrained_scores: (n,) of the same examples in a retrained model.
        shadows: unlearned and retrained shadow models.
    """

    finding: Finding
    auc: Auc
    unlearned_scores: Floats
    retrained_scores: Floats
    shadows: tuple[int, int]


@dataclass(frozen=True, eq=False)
class OrderKept:
    """Whether an unlearned model still orders examples as the original one did.

    Attributes:
        finding: the verdict, with its numbers and reasons.
        correlation: Spearman's, of deviations from the retrained models.
        null: (k,) the same for each retrained model in turn.
    """

    finding: Finding
    correlation: float
    null: Floats


def logit_confidence(logprob: npt.ArrayLike) -> Floats:
    """Return ln p - ln(1 - p) from ln p, without cancellation (Carlini et al. 2022).

    Raises:
        InvalidRecord: a ln p isn't below 0: take it in float64, or clip it.
    """
    logs = np.asarray(logprob, np.float64)
    if not (logs < 0).all() or np.isinf(logs).any():
        raise InvalidRecord("log-probabilities are finite and below 0")
    return np.asarray(logs - np.log(-np.expm1(logs)), np.float64)


def _variance(shadows: Floats, variance: Variance, fewest: int) -> Floats:
    """Return the variance (n, 1) of each row of (n, k), or one for all."""
    if shadows.shape[1] < 2:
        raise InvalidRecord("two shadow models a side are the least that have a variance")
    own = shadows.var(axis=1, ddof=1, keepdims=True)
    if variance == "pooled" or (variance == "auto" and fewest < FEWEST_SHADOWS):
        own = np.full_like(own, own.mean())
    return np.asarray(np.maximum(own, _LEAST_VARIANCE), np.float64)


def _log_density(value: Floats, shadows: Floats, variance: Floats) -> Floats:
    squares = (value[:, None] - shadows.mean(axis=1, keepdims=True)) ** 2
    return np.asarray((-0.5 * (squares / variance + np.log(2 * np.pi * variance)))[:, 0])


def lira_online(
    observed: npt.ArrayLike,
    shadow_in: npt.ArrayLike,
    shadow_out: npt.ArrayLike,
    *,
    variance: Variance = "auto",
) -> Floats:
    """Return (n,) log N(φ; IN) - log N(φ; OUT): the Gaussian likelihood ratio.

    Carlini et al., "Membership inference attacks from first principles", 2022.

    Args:
        observed: (n,) logit confidences φ in the model under attack (``logit_confidence``).
        shadow_in: (n, k) φ in shadow models that were trained on the example.
        shadow_out: (n, l) φ in shadow models that were not.
        variance: "own" for each example and side, "pooled" over examples by side; "auto" pools
            below 16 shadows a side.

    Raises:
        InvalidRecord: shapes don't fit, a value isn't finite, or fewer than two shadows a side.
    """
    phi = vector(observed, "observed")
    inside, outside = matrix(shadow_in, "shadow_in"), matrix(shadow_out, "shadow_out")
    same_length(observed=phi, shadow_in=inside, shadow_out=outside)
    fewest = min(inside.shape[1], outside.shape[1])
    return _log_density(phi, inside, _variance(inside, variance, fewest)) - _log_density(
        phi, outside, _variance(outside, variance, fewest)
    )


def lira_offline(
    observed: npt.ArrayLike, shadow_out: npt.ArrayLike, *, variance: Variance = "auto"
) -> Floats:
    """Return (n,) (φ - mean) / sd over models that never saw the example.

    The order is that of the one-sided tail P[N(OUT) <= φ], whose logarithm would round to 0 for
    the surest members. Arguments and errors as of ``lira_online``.

    Raises:
        InvalidRecord: shapes don't fit, a value isn't finite, or fewer than two shadows.
    """
    phi, outside = vector(observed, "observed"), matrix(shadow_out, "shadow_out")
    same_length(observed=phi, shadow_out=outside)
    spread = np.sqrt(_variance(outside, variance, outside.shape[1])[:, 0])
    return np.asarray((phi - outside.mean(axis=1)) / spread, np.float64)


def rmia(
    target: npt.ArrayLike,
    shadow_out: npt.ArrayLike,
    population: npt.ArrayLike,
    population_out: npt.ArrayLike,
    *,
    a: float = 0.3,
    gamma: float = 1.0,
) -> Floats:
    """Return (n,) the share of a population that an example beats (Zarifzadeh et al. 2024).

    The share of z with [p(x|θ) / p(x)] / [p(z|θ) / p(z)] > γ, where p(·) is
    ((1 + a) mean_out + 1 - a) / 2, offline. As in ``ml_privacy_meter``, equality doesn't count.

    Args:
        target: (n,) probabilities of the examples in the model under attack.
        shadow_out: (n, k) in models that never saw them.
        population: (m,) probabilities of other unseen examples in the model under attack.
        population_out: (m, l) in the shadow models.
        a: how close p(x) is to its mean over models without x, 0 to 1.
        gamma: how much an example must beat another by, 1 or more.

    Raises:
        InvalidRecord: shapes don't fit, or what should be a probability above 0 isn't.
    """
    if not 0 <= a <= 1 or gamma < 1:
        raise InvalidRecord("a lies between 0 and 1, gamma is 1 or more")
    x, z = vector(target, "target"), vector(population, "population")
    x_out, z_out = matrix(shadow_out, "shadow_out"), matrix(population_out, "population_out")
    same_length(target=x, shadow_out=x_out)
    same_length(population=z, population_out=z_out)
    for name, values in {"target": x, "population": z, "out": x_out, "z": z_out}.items():
        if (values <= 0).any() or (values > 1).any():
            raise InvalidRecord(f"{name}: probabilities above 0, up to 1")

    def ratio(seen: Floats, out: Floats) -> Floats:
        return np.asarray(seen / ((1 + a) / 2 * out.mean(axis=1) + (1 - a) / 2))

    # x/z > γ is z < x/γ: a place in the sorted population, not a table of n by m
    others = np.sort(ratio(z, z_out))
    places = np.searchsorted(others, ratio(x, x_out) / gamma, "left")
    return np.asarray(places / len(others), np.float64)


def u_lira(
    unlearned: npt.ArrayLike,
    retrained: npt.ArrayLike,
    shadow_unlearned: npt.ArrayLike,
    shadow_retrained: npt.ArrayLike,
    *,
    margin: float,
    variance: Variance = "auto",
) -> ULira:
    """Tell models that unlearned an example from models that never had it (Hayes et al. 2024).

    LiRA with shadow models that were trained on the example and then unlearned it as IN. Run it on
    retained examples as well: unlearning may expose them. The AUC compares the model under audit
    with one retrained model, so a difference between those two that has nothing to do with the
    examples counts too; repeat it with several.

    Args:
        unlearned: (n,) φ of forgotten examples in the model under audit.
        retrained: (n,) φ of the same in a retrained model that is none of the shadows.
        shadow_unlearned: (n, k) φ in shadow models that saw and unlearned them.
        shadow_retrained: (n, l) φ in shadow models that never saw them.
        margin: what AUC around 0.5 counts as none.
        variance: as in ``lira_online``.

    Raises:
        InvalidRecord: shapes don't fit, or a value isn't finite.
    """
    shadows = matrix(shadow_unlearned, "shadow_unlearned"), matrix(shadow_retrained, "retrained")
    scores = [
        lira_online(values, *shadows, variance=variance) for values in (unlearned, retrained)
    ]
    # members score high here and low there
    result = auc(-scores[0], -scores[1])
    judged = judge_auc(result, margin=margin)
    counts = shadows[0].shape[1], shadows[1].shape[1]
    reasons = judged.reasons
    if min(counts) < FEWEST_SHADOWS and variance != "own":
        few = f"{min(counts)} shadow models a side: one variance serves all examples"
        reasons = (*reasons, few)
    finding = Finding("u_lira", judged.verdict, judged.n, judged.numbers, reasons)
    return ULira(finding, result, scores[0], scores[1], counts)


def _ranks(values: Floats) -> Floats:
    """Return ranks from 0, ties by their mean."""
    ordered = np.sort(values)
    left, right = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray((left + right - 1) / 2, np.float64)


def _spearman(left: Floats, right: Floats) -> float:
    """Return the correlation of ranks; 0 where a side is constant."""
    a, b = (ranks - ranks.mean() for ranks in (_ranks(left), _ranks(right)))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0


def order_kept(
    original: npt.ArrayLike,
    unlearned: npt.ArrayLike,
    retrained: npt.ArrayLike,
    *,
    alpha: float = 0.05,
) -> OrderKept:
    """Ask whether the unlearned model still knows which examples the original knew best.

    A model that merely hides its confidence has the right level and the wrong order. For each
    example, how far is the original from the mean of the retrained models, and how far is the
    unlearned one? Spearman's correlation of the two is compared with the same correlation of
    each retrained model, left out of its mean. The p-value is (1 + those as high) / (k + 1).

    ``INCONSISTENT`` if p <= alpha, ``UNDERPOWERED`` if k + 1 < 1 / alpha, since p can't be that
    low, and ``NOT_CHECKED`` otherwise: not found isn't absent.

    Args:
        original: (n,) a statistic of the forgotten examples, such as the NLL, before unlearning.
        unlearned: (n,) after.
        retrained: (n, k) in k >= 2 retrained models.
        alpha: of the test.

    Raises:
        InvalidRecord: shapes don't fit, a value isn't finite, or fewer than two retrained models.
    """
    before, after = vector(original, "original", least=3), vector(unlearned, "unlearned")
    worlds = matrix(retrained, "retrained")
    n = same_length(original=before, unlearned=after, retrained=worlds)
    k = worlds.shape[1]
    if k < 2:
        raise InvalidRecord("two retrained models are the least that give a null")
    # every statistic leaves one world out, so that all of them rest on means of k - 1
    total = worlds.sum(axis=1)
    means = [(total - worlds[:, i]) / (k - 1) for i in range(k)]
    null = [_spearman(before - mean, worlds[:, i] - mean) for i, mean in enumerate(means)]
    found = float(np.median([_spearman(before - mean, after - mean) for mean in means]))
    p = (1 + sum(value >= found for value in null)) / (k + 1)
    numbers = {"correlation": found, "p": p, "null_highest": max(null), "retrained_models": k}
    if p <= alpha:
        verdict, reason = Verdict.INCONSISTENT, "deviations are in the order of the original's"
    elif round((k + 1) * alpha, 9) < 1:
        verdict = Verdict.UNDERPOWERED
        reason = f"{int(np.ceil(round(1 / alpha, 9))) - 1} retrained models are needed, not {k}"
    else:
        verdict, reason = Verdict.NOT_CHECKED, "no order was found; that isn't proof of absence"
    return OrderKept(Finding("order_kept", verdict, n, numbers, (reason,)), found, np.array(null))
