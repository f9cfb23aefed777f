"""One unlearned model beside several retrained ones: level, rank and order, one verdict.

The margin is measured, not chosen: how far retrained models lie from each other. Knows nothing of
models or of how they were trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forgetnet.audit.arrays import Floats, matrix, same_length, vector
from forgetnet.audit.equivalence import Margin, Tost, margin_between, tost
from forgetnet.audit.permutation import Permutation, among_retrained
from forgetnet.audit.shadow import OrderKept, order_kept
from forgetnet.audit.verdict import Finding, Verdict
from forgetnet.errors import InvalidRecord

__all__ = ["RetrainEquivalence", "level_distances", "retrain_equivalence"]


@dataclass(frozen=True, eq=False)
class RetrainEquivalence:
    """An unlearned model against k retrained ones.

    Attributes:
        verdict: see ``retrain_equivalence``.
        margin: between retrained models.
        rank: of the unlearned model's distance among theirs.
        level: the test of equivalence within the margin; None if there is no margin.
        order: whether it still orders examples as the original did.
        n: examples.
        models: retrained ones.
        reasons: in plain words, of each part.
    """

    verdict: Verdict
    margin: Margin
    rank: Permutation
    level: Tost | None
    order: OrderKept
    n: int
    models: int
    reasons: tuple[str, ...]


def level_distances(retrained: npt.ArrayLike) -> Floats:
    """Return the (k(k-1)/2,) absolute differences of means between k models of (n, k).

    Raises:
        InvalidRecord: fewer than two models, or a value isn't finite.
    """
    means = matrix(retrained, "retrained").mean(axis=0)
    if len(means) < 2:
        raise InvalidRecord("two retrained models are the least that have a distance")
    first, second = np.triu_indices(len(means), 1)
    return np.asarray(np.abs(means[first] - means[second]), np.float64)


def retrain_equivalence(
    original: npt.ArrayLike,
    unlearned: npt.ArrayLike,
    retrained: npt.ArrayLike,
    *,
    alpha: float = 0.05,
    quantile: float = 0.95,
) -> RetrainEquivalence:
    """Say whether an unlearned model could be one of the retrained ones.

    ``INCONSISTENT`` if it lies further from the retrained models than they do from each other, or
    keeps the order of the original, or surely differs by more than the margin; the first two are
    tested at half of alpha each. ``UNDERPOWERED`` if one of the three can't tell: 39 retrained
    models are needed at 0.05. ``CONSISTENT`` if the level is within the margin and neither
    difference was found. This is one statistic: what it doesn't measure may differ.

    Args:
        original: (n,) a statistic of the forgotten examples, such as the NLL, before unlearning.
        unlearned: (n,) after.
        retrained: (n, k) in k models trained without them.
        alpha: of the tests.
        quantile: of the distances between retrained models that makes the margin.

    Raises:
        InvalidRecord: shapes don't fit, fewer than three models, or retrained models that don't
            differ at all: compare digests then (``equal_bits``).
        Unsupported: scipy isn't installed.
    """
    ours, worlds = vector(unlearned, "unlearned", least=3), matrix(retrained, "retrained")
    n = same_length(unlearned=ours, retrained=worlds)
    k = worlds.shape[1]
    if k < 3:
        raise InvalidRecord("three retrained models at least")
    means, level = worlds.mean(axis=0), float(ours.mean())
    others = (means.sum() - means) / (k - 1)
    # the unlearned model, too, is compared with k - 1 of them
    found = float(np.median(np.abs(level - others)))
    half = alpha / 2  # Bonferroni: two tests by rank
    rank = among_retrained(found, np.abs(means - others), alpha=half)
    order = order_kept(original, ours, worlds, alpha=half)
    margin = margin_between(level_distances(worlds), quantile=quantile)
    if margin.value == 0:
        raise InvalidRecord("the retrained models don't differ: compare digests instead")
    test = None
    if margin.verdict is not Verdict.UNDERPOWERED:
        test = tost(ours, worlds.mean(axis=1), margin=margin.value, paired=True, alpha=alpha)
    vetoes: tuple[Finding, ...] = (rank.finding, order.finding)
    said = {finding.verdict for finding in vetoes} | ({test.finding.verdict} if test else set())
    if Verdict.INCONSISTENT in said:
        verdict = Verdict.INCONSISTENT
    elif Verdict.UNDERPOWERED in said or test is None:
        verdict = Verdict.UNDERPOWERED
    else:
        verdict = test.finding.verdict
    parts = (*vetoes, *([test.finding] if test else []))
    reasons = tuple(f"{part.name}: {reason}" for part in parts for reason in part.reasons)
    return RetrainEquivalence(
        verdict, margin, rank, test, order, n, k, (*margin.reasons, *reasons)
    )
