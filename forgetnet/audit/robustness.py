"""Does unlearning last: after relearning a little, and after rounding weights to 8 or 4 bits?

Takes metrics before and after, and weights as arrays. Knows nothing of models, of how they are
trained again or of the formats of a quantiser.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forgetnet.audit.arrays import Compat, Floats, check_compat, check_share, statistics, vector
from forgetnet.audit.verdict import Finding, Verdict
from forgetnet.errors import InvalidRecord

__all__ = [
    "RelearnSteps",
    "RoundTrip",
    "Survival",
    "quantisation_survival",
    "relearn_ratio",
    "relearn_steps",
    "round_trip",
    "rounded",
]

FEWEST_SEEDS = 10
"""Relearning runs a side below which no verdict is given."""


@dataclass(frozen=True)
class Survival:
    """How much of a change outlasts a treatment.

    Attributes:
        value: 1 is all of it; NaN if it can't be told.
        n: pairs of numbers it rests on.
        reasons: in plain words.
    """

    value: float
    n: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class RelearnSteps:
    """How fast an unlearned model learns the data again, against a retrained one.

    Attributes:
        finding: the verdict, with its numbers and reasons.
        ratio: geometric mean of its steps over that of the retrained; 1 or more is good.
        low, high: interval of the ratio.
        n, m: seeds of the unlearned and of the retrained model.
    """

    finding: Finding
    ratio: float
    low: float
    high: float
    n: int
    m: int


@dataclass(frozen=True)
class RoundTrip:
    """What rounding to a grid leaves of a change of weights.

    Attributes:
        bits: of the grid.
        n: weights that were changed.
        share_changed: of all weights.
        beyond_half_bin: share of those changed by more than half a bin; the others may be undone.
        codes_changed: share of those changed whose rounded code differs.
        kept: projection of the rounded change on the change, over its square: 1 is all, 0 none.
        norm_ratio: norm of the rounded change over that of the change; rounding alone adds to it.
        reasons: in plain words.
    """

    bits: int
    n: int
    share_changed: float
    beyond_half_bin: float
    codes_changed: float
    kept: float
    norm_ratio: float
    reasons: tuple[str, ...] = ()


def relearn_ratio(
    unlearned: tuple[float, float], retrained: tuple[float, float], *, compat: Compat = "strict"
) -> Survival:
    """Compare what relearning wins back: (retrained after - before) / (unlearned after - before).

    1 if the unlearned model gains no more than a retrained one from the same steps, towards 0 if it
    remembers at once. ``open-unlearning`` (the paper; its code was not published) takes min(R, 1)
    of any sign; so an unlearned model that only gets worse scores minus something. ``strict``: 1 if
    the unlearned model gains nothing or less than the retrained one, 0 if only it gains, and never
    out of 0 to 1. One pair of runs shows little: see ``relearn_steps``.

    Args:
        unlearned: a metric of memory before and after relearning; higher remembers more.
        retrained: the same of a retrained model, after the same steps.
        compat: see above.

    Raises:
        InvalidRecord: a number isn't finite.
    """
    check_compat(compat)
    ours = float(np.diff(vector(unlearned, "unlearned", least=2))[0])
    theirs = float(np.diff(vector(retrained, "retrained", least=2))[0])
    if compat == "open-unlearning":
        if not ours:
            limit = math.nan if not theirs else min(math.copysign(math.inf, theirs), 1.0)
            return Survival(limit, 1, ("the unlearned model gained nothing: a division by 0",))
        return Survival(min(theirs / ours, 1.0), 1)
    if ours <= 0 or ours <= theirs:
        return Survival(1.0, 1, ("the unlearned model gained no more than the retrained one",))
    if theirs <= 0:
        return Survival(0.0, 1, ("only the unlearned model gained",))
    return Survival(theirs / ours, 1)


def relearn_steps(
    unlearned: npt.ArrayLike,
    retrained: npt.ArrayLike,
    *,
    least: float = 0.9,
    alpha: float = 0.05,
) -> RelearnSteps:
    """Compare the steps until the original loss is reached again, over seeds.

    The interval is Welch's for means of logarithms. ``CONSISTENT`` if all of it is above
    ``least``, ``INCONSISTENT`` if all of it is below, ``UNDERPOWERED`` otherwise or with fewer
    than 10 seeds a side. Fine-tune on a little of the forgotten data, and on retained data only:
    the latter alone has brought forgotten answers back.

    Args:
        unlearned: (n,) steps of the unlearned model, one a seed; a run that hit the limit counts
            with the limit, and then the ratio is a lower one.
        retrained: (m,) of retrained models.
        least: the ratio that counts as no faster.
        alpha: of the interval.

    Raises:
        InvalidRecord: fewer than two runs a side, or a number of steps that isn't above 0.
        Unsupported: scipy isn't installed.
    """
    check_share(alpha, "alpha")
    a, b = vector(unlearned, "unlearned", least=2), vector(retrained, "retrained", least=2)
    if (a <= 0).any() or (b <= 0).any() or least <= 0:
        raise InvalidRecord("steps, and the ratio asked for, are above 0")
    logs = np.log(a), np.log(b)
    gap = float(logs[0].mean() - logs[1].mean())
    shares = [float(side.var(ddof=1)) / len(side) for side in logs]
    half = 0.0
    if sum(shares):
        weights = (s * s / (len(side) - 1) for s, side in zip(shares, logs, strict=True))
        freedom = sum(shares) ** 2 / sum(weights)
        half = float(statistics().t.ppf(1 - alpha / 2, freedom)) * math.sqrt(sum(shares))
    ratio, low, high = (math.exp(value) for value in (gap, gap - half, gap + half))
    n = min(len(a), len(b))
    reason = f"ratio {ratio:.3f}, interval {low:.3f} to {high:.3f}, wanted {least:g}"
    if n < FEWEST_SEEDS:
        verdict = Verdict.UNDERPOWERED
        reason = f"{FEWEST_SEEDS} seeds a side are needed, not {n}"
    elif low > least:
        verdict = Verdict.CONSISTENT
    else:
        verdict = Verdict.INCONSISTENT if high < least else Verdict.UNDERPOWERED
    numbers = {"ratio": ratio, "low": low, "high": high, "least": least}
    finding = Finding("relearn_steps", verdict, n, numbers, (reason,))
    return RelearnSteps(finding, ratio, low, high, len(a), len(b))


def quantisation_survival(before: float, after: float, *, compat: Compat = "strict") -> Survival:
    """Compare a metric of memory before and after rounding the unlearned model's weights.

    ``open-unlearning`` (the paper): min(before / after, 1), which sees memory that comes back
    only. ``strict``: 1 - |before - after| / (|before| + |after|), which sees any change, and is 1
    where both are 0.

    Raises:
        InvalidRecord: a number isn't finite.
    """
    check_compat(compat)
    vector([before, after], "before and after")
    if compat == "open-unlearning":
        if not after:
            value = math.nan if not before else min(math.copysign(math.inf, before), 1.0)
            return Survival(value, 1, ("nothing is left after rounding: a division by 0",))
        return Survival(min(before / after, 1.0), 1)
    total = abs(before) + abs(after)
    return Survival(1 - abs(before - after) / total if total else 1.0, 1)


def _channels(weights: npt.ArrayLike, name: str) -> Floats:
    """Return weights as (out, in): a row for each output channel, one row for a vector."""
    array = np.asarray(weights, np.float64)
    if not array.size or not np.isfinite(array).all():
        raise InvalidRecord(f"{name}: finite weights, one at least")
    return array.reshape(1, -1) if array.ndim < 2 else array.reshape(len(array), -1)


def _bins(rows: Floats, bits: int) -> Floats:
    """Return the width of a bin by channel (out, 1): symmetric, the largest weight on the grid."""
    if bits not in {4, 8}:
        raise InvalidRecord(f"bits are 4 or 8, not {bits}")
    return np.asarray(np.abs(rows).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1), np.float64)


def _codes(rows: Floats, bins: Floats) -> Floats:
    return np.rint(np.divide(rows, bins, out=np.zeros_like(rows), where=bins > 0))


def rounded(weights: npt.ArrayLike, *, bits: int) -> Floats:
    """Round weights to a grid of 2^bits - 1 levels by output channel, and back.

    Absmax by row, symmetric, to nearest, ties to even. Other quantisers have finer groups or
    calibrate; their grid is another.

    Args:
        weights: (out, ...) float array; a vector is one channel.
        bits: 4 or 8.

    Raises:
        InvalidRecord: a weight isn't finite, or other bits.
    """
    rows = _channels(weights, "weights")
    bins = _bins(rows, bits)
    return (_codes(rows, bins) * bins).reshape(np.shape(weights))


def round_trip(before: npt.ArrayLike, after: npt.ArrayLike, *, bits: int) -> RoundTrip:
    """Round the weights before and after unlearning, each by its own scales, and compare.

    A weight moved by less than half a bin may round to where it was: the change is then undone,
    and the knowledge back (Zhang et al. 2025). Half a bin is counted by the scales after.

    Args:
        before: (out, ...) weights before unlearning.
        after: the same after.
        bits: 4 or 8.

    Raises:
        InvalidRecord: shapes differ, a weight isn't finite, or other bits.
    """
    if np.shape(before) != np.shape(after):
        raise InvalidRecord(f"weights of {np.shape(before)} before and {np.shape(after)} after")
    old, new = _channels(before, "before"), _channels(after, "after")
    delta, bins, old_bins = new - old, _bins(new, bits), _bins(old, bits)
    changed = delta != 0
    n = int(changed.sum())
    if not n:
        nan = math.nan
        return RoundTrip(bits, 0, 0.0, nan, nan, nan, nan, ("no weight was changed",))
    codes, old_codes = _codes(new, bins), _codes(old, old_bins)
    moved = codes * bins - old_codes * old_bins
    # scaled by the largest: squares of tiny changes would be 0
    top = float(np.abs(delta).max())
    unit, moved_unit = delta / top, moved / top
    square = float((unit * unit).sum())
    return RoundTrip(
        bits=bits,
        n=n,
        share_changed=n / delta.size,
        beyond_half_bin=float((np.abs(delta) > bins / 2)[changed].mean()),
        codes_changed=float((codes != old_codes)[changed].mean()),
        kept=float((moved_unit * unit).sum()) / square,
        norm_ratio=math.sqrt(float((moved_unit * moved_unit).sum()) / square),
    )
