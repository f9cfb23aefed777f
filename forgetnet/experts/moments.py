"""Second moments of features and targets, as integer sums that can be undone bit for bit.

All that ridge regression needs of the records: the sum of f f', packed; by class the sums of f, or
for regression those of f y, with y in three limbs. Cao and Yang, "Towards making systems forget
with machine unlearning" (2015), call this the summation form. Knows of no solution.

Why it is exact: |f| <= 2^15 and a weight is below 2^8, so a product of two features is below 2^38,
one of a feature and a limb at most 2^36 (``split_limbs``), and blocks have 2^11 records: every
partial sum that BLAS sees stays below 2^53. The totals are int64: 2^24 records can't overflow
them, and with the 12-bit features of the default map, 2^30 can't.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from forgetnet.errors import InvalidRecord
from forgetnet.exact import (
    LIMB_BITS,
    LIMBS,
    Floats,
    Ints,
    add_gram,
    from_fixed,
    gram,
    join_limbs,
    packed_size,
    split_limbs,
    to_fixed,
)
from forgetnet.experts.expert import Label, State, View
from forgetnet.experts.features import FeatureMap
from forgetnet.experts.tally import Tally, index_labels, sum_by_class

__all__ = [
    "LARGEST_WEIGHT",
    "Moments",
    "absorb_labels",
    "absorb_values",
    "empty_state",
    "label_moments",
    "tally_of",
    "value_moments",
]

LARGEST_WEIGHT = 255
"""Weights of classes are whole numbers from 1 to this."""

Weights = Mapping[Label, int]


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments about the means, of features in m and targets in k columns, in float64.

    Attributes:
        count: of records.
        weight: their total weight.
        mean: (m,) of the features.
        target_mean: (k,).
        cross: (m, k) weighted sum of (f - mean)(y - target_mean)'.
        power: (k,) weighted sum of (y - target_mean)^2.
    """

    count: int
    weight: float
    mean: Floats
    target_mean: Floats
    cross: Floats
    power: Floats


def empty_state(task: str) -> State:
    """Return the state of no records; it knows neither dimension nor targets."""
    tensors: dict[str, Any] = {"gram": np.zeros(0, np.int64)}
    if task == "classification":
        tensors |= {"counts": np.zeros(0, np.int64), "sums": np.zeros((0, 0), np.int64)}
        return State(tensors, {"classes": [], "dim": 0, "n": 0})
    tensors |= {"features": np.zeros(0, np.int64), "sums": np.zeros((LIMBS, 0, 0), np.int64)}
    return State(tensors, {"dim": 0, "n": 0, "squares": [], "total": []})


def tally_of(state: State) -> Tally:
    """Return counts and sums by class of a state that classifies."""
    sums = _own(state.tensors["sums"])
    return Tally(tuple(state.meta["classes"]), state.tensors["counts"], sums)


def absorb_labels(
    state: State, view: View, features: FeatureMap, weights: Weights, sign: int
) -> State:
    """Add the records of a view, or with ``sign`` -1 subtract them; the state is used up.

    Raises:
        InvalidRecord: targets are no labels, vectors of another dimension, or records to subtract
            that were never added.
    """
    classes, index = index_labels(view.labels)
    have = tally_of(state)
    if not len(view):
        return state
    m, dim, n = _sizes(state, view, features, sign)
    counts = np.bincount(index, minlength=len(classes)).astype(np.int64)
    seen = Tally(classes, counts, np.zeros((len(classes), m), np.int64))
    if sign < 0:
        have.check(seen)
    packed = _gram_of(state, m)
    weight = np.array([weights.get(label, 1) for label in classes], np.int64)
    bound = features.largest**2 * int(weight.max())
    for rows, found in features.blocks(view.codes):
        some = weight[index[rows]]
        heavy = found if bool((some == 1).all()) else found * some[:, None]
        add_gram(packed, heavy, found, bound, sign)
        sum_by_class(seen.sums, heavy, index[rows])
    total = have.combined(seen, sign)
    if n == 0:
        return _emptied("classification", packed)
    return State(
        {"gram": packed, "counts": total.counts, "sums": total.sums},
        {"classes": list(total.classes), "dim": dim, "n": n},
    )


def absorb_values(state: State, view: View, features: FeatureMap, sign: int) -> State:
    """Add the records of a view, or with ``sign`` -1 subtract them; the state is used up.

    Raises:
        InvalidRecord: targets are no numbers below 2^40, their number differs, or as for labels.
    """
    values = view.values.reshape(len(view), -1) if len(view) else np.zeros((0, 0))
    fixed = to_fixed(values)
    if not len(view):
        return state
    m, dim, n = _sizes(state, view, features, sign)
    width = values.shape[1]
    if state.meta["n"] and width != len(state.meta["total"]):
        raise InvalidRecord(f"a target has {len(state.meta['total'])} numbers, not {width}")
    packed = _gram_of(state, m)
    fresh = not state.meta["n"]
    sums = np.zeros((LIMBS, width, m), np.int64) if fresh else _own(state.tensors["sums"])
    whole = np.zeros(m, np.int64) if fresh else _own(state.tensors["features"])
    for rows, found in features.blocks(view.codes):
        add_gram(packed, found, found, features.largest**2, sign)
        whole += sign * found.sum(axis=0).astype(np.int64)
        for total, limb in zip(sums, split_limbs(fixed[rows]), strict=True):
            bound = features.largest << LIMB_BITS
            total += sign * gram(limb.astype(np.float64), found, bound)
    wide = fixed.astype(object)
    meta: dict[str, Any] = {"dim": dim, "n": n}
    for power, name in ((1, "total"), (2, "squares")):
        seen = (wide**power).sum(axis=0).tolist()
        before = [0] * width if fresh else state.meta[name]
        meta[name] = [int(a + sign * b) for a, b in zip(before, seen, strict=True)]
    if n == 0:
        left = np.array([any(meta["total"]), any(meta["squares"])], np.int64)
        return _emptied("regression", packed, sums, whole, left)
    return State({"gram": packed, "features": whole, "sums": sums}, meta)


def label_moments(tally: Tally, weights: Weights) -> Moments:
    """Return the moments of features and indicators of the classes; at least one record."""
    weight = np.array([weights.get(label, 1) for label in tally.classes], np.int64) * tally.counts
    total = int(weight.sum())
    share = weight / total
    whole = tally.sums.sum(axis=0)
    cross = tally.sums - share[:, None] * whole
    return Moments(
        count=int(tally.counts.sum()),
        weight=float(total),
        mean=whole / total,
        target_mean=share,
        cross=cross.T.copy(),
        power=weight * (1.0 - share),
    )


def value_moments(state: State) -> Moments:
    """Return the moments of features and targets; at least one record.

    The means are taken out in whole numbers, so a target far from zero costs no digit.
    """
    n = state.meta["n"]
    total = np.array(state.meta["total"], object)
    whole = state.tensors["features"]
    cross = join_limbs(state.tensors["sums"]) * n - total[:, None] * whole.astype(object)
    spread = [s * n - t * t for s, t in zip(state.meta["squares"], total.tolist(), strict=True)]
    step = float(from_fixed(1))
    return Moments(
        count=n,
        weight=float(n),
        mean=whole / n,
        target_mean=np.array([float(Fraction(t, n)) for t in total.tolist()]) * step,
        cross=(cross / n).astype(np.float64).T.copy() * step,
        power=np.array([float(Fraction(s, n)) for s in spread]) * step**2,
    )


def _sizes(state: State, view: View, features: FeatureMap, sign: int) -> tuple[int, int, int]:
    """Return the width of the features, the dimension, and the records there will be."""
    dim = int(view.codes.shape[1])
    if state.meta["n"] and dim != state.meta["dim"]:
        raise InvalidRecord(f"vectors have {state.meta['dim']} dimensions here, not {dim}")
    n = state.meta["n"] + sign * len(view)
    if n < 0:
        raise InvalidRecord("more records to take out than there are")
    return features.width(dim), dim, n


def _gram_of(state: State, m: int) -> Ints:
    return _own(state.tensors["gram"]) if state.meta["n"] else np.zeros(packed_size(m), np.int64)


def _own(array: Ints) -> Ints:
    """Return the array, or a copy where it can't be written to, as of a mapped file."""
    return array if array.flags.writeable else array.copy()


def _emptied(task: str, *left: Ints) -> State:
    if any(array.any() for array in left):
        raise InvalidRecord("these records can't have been absorbed: sums of no record would stay")
    return empty_state(task)
