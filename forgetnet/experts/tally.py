"""Sums by class that can be undone: counts and integer sums, the classes in canonical order.

Knows nothing of what is summed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.exact import Floats, Ints
from forgetnet.experts.expert import Label, class_order

__all__ = ["Tally", "index_labels", "sum_by_class"]

_NEVER = "these records can't have been absorbed: {} would be left"


def index_labels(labels: Sequence[Label]) -> tuple[tuple[Label, ...], Ints]:
    """Return the classes in canonical order, and the class of each of n records as (n,) positions.

    Raises:
        InvalidRecord: a label is neither a string nor a finite number, or they are of two kinds.
    """
    kinds = {_kind(label) for label in set(labels)}
    if len(kinds) > 1:
        raise InvalidRecord(f"labels are of one kind, not of {' and '.join(sorted(kinds))}")
    classes = class_order(labels)
    if kinds == {"float"}:
        classes = tuple(label + 0.0 for label in classes if not isinstance(label, str))  # no -0.0
    position = {label: i for i, label in enumerate(classes)}
    return classes, np.array([position[label] for label in labels], np.int64)


def _kind(label: object) -> str:
    if isinstance(label, float) and not math.isfinite(label):
        raise InvalidRecord("a label is not a finite number; leave the record out")
    for kind in (str, int, float):
        if isinstance(label, kind) and not isinstance(label, bool):
            return kind.__name__
    raise InvalidRecord(f"a label is a string or a number, not {type(label).__name__}")


def sum_by_class(sums: Ints, rows: Floats, index: Ints) -> None:
    """Add (n, m) whole numbers to (C, m) sums in place, each row to that of its class.

    Exact as long as n times the largest magnitude is below 2^53.
    """
    order = np.argsort(index, kind="stable")
    present, starts = np.unique(index[order], return_index=True)
    sums[present] += np.add.reduceat(rows[order], starts, axis=0).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Tally:
    """What was seen of each class.

    Attributes:
        classes: C labels in canonical order, each with at least one record.
        counts: (C,) int64.
        sums: (C, m) int64.
    """

    classes: tuple[Label, ...]
    counts: Ints
    sums: Ints

    def check(self, other: Tally) -> None:
        """Refuse records to take out that were never put in; nothing has been changed yet.

        Raises:
            InvalidRecord: a count would fall below zero.
        """
        known = dict(zip(self.classes, self.counts.tolist(), strict=True))
        for label, count in zip(other.classes, other.counts.tolist(), strict=True):
            if known.get(label, 0) < count:
                raise InvalidRecord(_NEVER.format("less than no record of a class"))

    def combined(self, other: Tally, sign: int) -> Tally:
        """Return the sum or difference; the sums that were given are used up.

        A new class gets its place in the order; one without records leaves no trace.

        Raises:
            InvalidRecord: labels of two kinds, or sums that were not of the records taken out.
        """
        classes, _ = index_labels((*self.classes, *other.classes))
        counts, sums = self.counts.copy(), self.sums
        position = {label: i for i, label in enumerate(classes)}
        if classes != self.classes:
            mine = [position[label] for label in self.classes]
            counts = np.zeros(len(classes), np.int64)
            sums = np.zeros((len(classes), other.sums.shape[1]), np.int64)
            if mine:  # the sums of no class have no width
                counts[mine], sums[mine] = self.counts, self.sums
        theirs = [position[label] for label in other.classes]
        counts[theirs] += sign * other.counts
        sums[theirs] += sign * other.sums
        kept: npt.NDArray[np.bool_] = counts > 0
        if kept.all():
            return Tally(classes, counts, sums)
        if sums[~kept].any():
            raise InvalidRecord(_NEVER.format("a sum of no record"))
        left = tuple(label for label, stays in zip(classes, kept, strict=True) if stays)
        return Tally(left, counts[kept], sums[kept])
