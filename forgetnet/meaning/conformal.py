"""Conformal risk control of what a scope misses, and how sure that is.

Angelopoulos, Bates, Fisch, Lei and Schuster, "Conformal Risk Control" (ICLR 2024; arXiv
2208.02814), equation 4: the threshold is the largest t at which
``(sum of the losses of n units at t + B) / (n + 1) <= alpha``. The loss of a unit is the share of
it that lies below t, so B = 1. If the unit that is asked about is exchangeable with those, the
expected share that is missed is at most alpha. Pure functions; knows nothing of records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["MILLION", "Miss", "clopper_pearson", "control", "enough"]

MILLION = 1_000_000
"""Shares are parts per million: whole numbers, which receipts can repeat."""

LEVEL = 0.95
_HALVINGS = 60

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Miss:
    """What share of what is meant a scope leaves out, in parts per million.

    Attributes:
        estimate: (misses + 1) / (n + 1), the bound of conformal risk control, and the margin on
            top of it; never more than what was asked for.
        low, high: an interval of 95 %, its end with the margin; see :func:`control`.
        units: n, how many exemplars or topics it was estimated on.
    """

    estimate: int
    low: int
    high: int
    units: int


def enough(units: int, alpha: int) -> bool:
    """Tell whether n units can promise a miss rate: whether ``(n + 1) * alpha >= 1``.

    Args:
        units: n.
        alpha: parts per million.
    """
    return (units + 1) * alpha >= MILLION


def control(units: Sequence[Doubles], alpha: int, shift: int = 0) -> tuple[float, Miss]:
    """Return the largest threshold that keeps the expected miss rate at alpha, and that rate.

    With units of one margin each, such as the exemplars of one topic, the interval is that of
    Clopper and Pearson for the misses of n. With units of several, such as topics, the rate of the
    one that is asked about varies more than their mean: the interval then is where its own rate
    lies with 95 %, by the order statistics of the units, and up to 1 below 39 of them.

    Args:
        units: the margins of each unit, at least one; ``enough`` of them for alpha less the shift.
        alpha: parts per million.
        shift: the margin, in parts per million, by which alpha is less, since what is asked about
            may not be quite exchangeable with the units.

    Returns:
        A threshold, of which margins that are equal or larger are in, and the miss rate.
    """
    count = len(units)
    values = np.concatenate(units)
    shares = np.repeat([1.0 / len(unit) for unit in units], [len(unit) for unit in units])
    order = np.lexsort((shares, values))
    values, shares = values[order], shares[order]
    below = np.concatenate([[0.0], np.cumsum(shares)[:-1]])
    first = np.searchsorted(values, values, side="left")
    # what is lost if the threshold is this value: all that lies strictly below it
    lost = below[first]
    most = (alpha - shift) * (count + 1) / MILLION - 1.0
    threshold = float(values[np.flatnonzero(lost <= most + 1e-9)[-1]])
    rates = np.sort([float(np.mean(unit < threshold)) for unit in units])
    total = float(rates.sum())
    if all(len(unit) == 1 for unit in units):
        low, high = clopper_pearson(round(total), count)
    else:
        at = [math.floor((1 - LEVEL) / 2 * (count + 1)), math.ceil((1 + LEVEL) / 2 * (count + 1))]
        low = float(rates[at[0] - 1]) if at[0] >= 1 else 0.0
        high = float(rates[at[1] - 1]) if at[1] <= count else 1.0
    estimate = min(round((total + 1.0) / (count + 1) * MILLION) + shift, alpha)
    upper = min(round(high * MILLION) + shift, MILLION)
    return threshold, Miss(estimate, round(low * MILLION), max(upper, estimate), count)


def clopper_pearson(hits: int, trials: int) -> tuple[float, float]:
    """Return the exact interval of 95 % for a share, of hits among trials.

    Clopper and Pearson, "The use of confidence or fiducial limits" (Biometrika, 1934).
    """
    tail = (1 - LEVEL) / 2
    low = 0.0 if hits == 0 else _solve(hits - 1, trials, 1 - tail)
    high = 1.0 if hits == trials else _solve(hits, trials, tail)
    return low, high


def _solve(most: int, trials: int, wanted: float) -> float:
    """Return the share at which at most so many hits have the chance wanted, by halving."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(most, trials, middle) > wanted else (low, middle)
    return (low + high) / 2


def _at_most(most: int, trials: int, share: float) -> float:
    """Return the chance of at most so many hits."""
    if share in (0.0, 1.0):
        return 1.0 if share == 0.0 else 0.0
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(
            whole
            - math.lgamma(hits + 1)
            - math.lgamma(trials - hits + 1)
            + hits * math.log(share)
            + (trials - hits) * math.log1p(-share)
        )
        for hits in range(most + 1)
    )
