"""Permutation tests: p-values that rest on nothing but the exchange of models or of examples.

Knows nothing of models; randomness is an argument.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forgetnet.audit.arrays import Floats, check_share, vector
from forgetnet.audit.verdict import Finding, Verdict
from forgetnet.errors import InvalidRecord

__all__ = ["Permutation", "among_retrained", "mean_gap", "permutation"]

_EXACT = 20_000
"""Up to so many ways to split are all looked at."""


@dataclass(frozen=True)
class Permutation:
    """A permutation test of difference.

    Attributes:
        finding: the verdict, with its numbers and reasons: never "consistent".
        p_value: the share of arrangements as far apart as the one found, itself included.
        least_p: the least p-value that could have come out.
        exact: every arrangement was looked at.
        arrangements: looked at.
    """

    finding: Finding
    p_value: float
    least_p: float
    exact: bool
    arrangements: int


def mean_gap(a: Floats, b: Floats) -> float:
    """Return the absolute difference of means."""
    return abs(float(a.mean()) - float(b.mean()))


def _judged(p: float, least: float, alpha: float, n: int, needed: str) -> Finding:
    numbers = {"p": p, "least_p": least}
    if p <= alpha:
        reason = "further from the retrained than they are from each other"
        return Finding("permutation", Verdict.INCONSISTENT, n, numbers, (reason,))
    if least > alpha:
        return Finding("permutation", Verdict.UNDERPOWERED, n, numbers, (needed,))
    reason = "no difference was found; that isn't proof that there is none"
    return Finding("permutation", Verdict.NOT_CHECKED, n, numbers, (reason,))


def among_retrained(
    distance: float, null_distances: npt.ArrayLike, *, alpha: float = 0.05
) -> Permutation:
    """Rank the distance of the unlearned model among those of k retrained ones.

    p = (1 + those as far) / (k + 1), so that it can't be below 1 / (k + 1): 19 retrained models
    for 0.05.

    Args:
        distance: of the unlearned model from the retrained ones.
        null_distances: (k,) of each retrained model from the others.
        alpha: of the verdict.

    Raises:
        InvalidRecord: a distance isn't finite.
    """
    check_share(alpha, "alpha")
    null, found = vector(null_distances, "null_distances"), vector([distance], "distance")
    k = len(null)
    p, least = (1 + int((null >= found[0]).sum())) / (k + 1), 1 / (k + 1)
    wanted = math.ceil(round(1 / alpha, 9)) - 1
    needed = f"{wanted} retrained models are needed for a p-value of {alpha:g}; there are {k}"
    finding = _judged(p, least, alpha, k, needed)
    return Permutation(finding, p, least, exact=True, arrangements=k + 1)


def permutation(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    statistic: Callable[[Floats, Floats], float] = mean_gap,
    arrangements: int = 9_999,
    alpha: float = 0.05,
) -> Permutation:
    """Test whether two samples could be one, by splitting their union anew.

    Looks at every split if there are at most 20,000, and otherwise at ``arrangements`` random ones
    and the one found: p = (1 + as far) / (1 + arrangements), which is never too low
    (Phipson & Smyth 2010).

    Args:
        a: (n,) one number an example or, better, a model.
        b: (m,) the others.
        rng: draws the random splits.
        statistic: how far apart two samples are: higher is further.
        arrangements: random splits.
        alpha: of the verdict.

    Raises:
        InvalidRecord: a value isn't finite, or fewer than one arrangement.
    """
    check_share(alpha, "alpha")
    if arrangements < 1:
        raise InvalidRecord("one arrangement at least")
    left, right = vector(a, "a"), vector(b, "b")
    both, n = np.concatenate([left, right]), len(left)
    found = statistic(left, right)
    slack = 1e-12 * max(1.0, abs(found))  # sums in another order are equal, too
    splits = math.comb(len(both), n)
    exact = splits <= _EXACT
    as_far, seen = (0, 0) if exact else (1, 1)
    chosen = (
        (list(places) for places in itertools.combinations(range(len(both)), n))
        if exact
        else (rng.permutation(len(both))[:n] for _ in range(arrangements))
    )
    for places in chosen:
        mask = np.zeros(len(both), np.bool_)
        mask[places] = True
        as_far += statistic(both[mask], both[~mask]) >= found - slack
        seen += 1
    p = as_far / seen
    # a symmetric statistic can't tell a split into equal halves from its mirror image
    least = (2 if exact and n == len(right) else 1) / seen
    needed = f"{splits} splits can't give a p-value of {alpha:g}; more values are needed"
    fewest = min(n, len(right))
    return Permutation(_judged(p, least, alpha, fewest, needed), p, least, exact, seen)
