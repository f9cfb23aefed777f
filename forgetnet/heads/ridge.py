"""The head of a user: the public one, drawn towards what the user's labels say, and undone exactly.

Every label has a target, a tangent that is a function of the label alone (where the public head
puts its name), and a record of that label is to land there. With Z the records' vectors in steps of
2^-12, each with a 1 beside it, T their targets and W0 the public weights,
W = (Z'Z + p I)^-1 (Z'T + p W0). Z'Z and the sums of Z by label are whole numbers, so what a record
added is subtracted bit for bit, in any order, and W is a function of the records that are left.

Knows nothing of leaves and files.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from forgetnet.component import Influence
from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord, StoreCorrupt
from forgetnet.exact import CODE_BITS, Floats, unpack
from forgetnet.experts.expert import State, View
from forgetnet.experts.features import FeatureMap
from forgetnet.experts.moments import absorb_labels, empty_state, tally_of
from forgetnet.given import names_of, number_of
from forgetnet.heads.public import PublicHead
from forgetnet.heads.tangents import LIMIT, TangentMap

__all__ = ["RidgeHead"]

_LINEAR = FeatureMap(linear=True)
_STEP = 2.0**-20  # of a target
_FARTHEST = 0.999


@dataclass(frozen=True, eq=False)
class RidgeHead:
    """Adapts a public head to labels; a record is learnt or forgotten by sums of whole numbers.

    Attributes:
        public: the head to start from and to fall back to where nothing was learnt.
        targets: for each label a unit vector of the public head's encoder, such as that of its
            name: a constant, which no record had a part in.
        prior: how many records the public head counts for.

    Raises:
        InvalidRecord: there is no target, one is of another dimension, or the prior isn't above 0.
    """

    public: PublicHead
    targets: Mapping[str, Any] = field(repr=False)
    prior: float = 1.0

    name = "ridge head"
    influence = Influence.ADDITIVE

    def __post_init__(self) -> None:
        check_kind("public", self.public, PublicHead, "load_head(folder)")
        if not number_of(self.prior, "prior=", InvalidRecord):
            raise InvalidRecord(f"prior= is above 0, not {self.prior}")
        check_kind("targets", self.targets, Mapping, '{"work": vector}')
        if not self.targets:
            raise InvalidRecord("targets= has a vector for each label; give at least one")
        names_of(self.targets.keys(), "targets", InvalidRecord)
        object.__setattr__(self, "targets", dict(self.targets))
        self._aims  # noqa: B018 # refuses what isn't a vector

    @functools.cached_property
    def _aims(self) -> dict[str, Floats]:
        """Where records of each label are to land before the pull inwards, in whole steps."""
        labels = sorted(self.targets)
        try:
            told = np.stack([np.asarray(self.targets[label], np.float64) for label in labels])
        except (TypeError, ValueError, OverflowError):
            raise InvalidRecord("targets= has a vector for each label, all of one length") from None
        tangents = self.public.tangents(told)
        radius = np.sqrt((tangents * tangents).sum(axis=1, keepdims=True)) / LIMIT
        near = np.minimum(radius, _FARTHEST)
        free = np.where(near > 0.0, np.arctanh(near) / np.where(near > 0.0, near, 1.0), 1.0)
        aims = np.rint(tangents * free / _STEP) * _STEP
        return dict(zip(labels, aims, strict=True))

    def empty(self) -> State:
        """Return the state of no records."""
        return empty_state("classification")

    def absorb(self, state: State, view: View) -> State:
        """Learn records; the state that was given is used up.

        Raises:
            InvalidRecord: a label has no target, or the vectors are of another dimension.
        """
        self._check(view)
        return absorb_labels(state, view, _LINEAR, {}, 1)

    def expel(self, state: State, view: View) -> State:
        """Forget records that were learnt; the state that was given is used up.

        Raises:
            InvalidRecord: they can't have been learnt: a count would fall below zero.
        """
        self._check(view)
        return absorb_labels(state, view, _LINEAR, {}, -1)

    def _check(self, view: View) -> None:
        if unknown := set(view.labels) - self.targets.keys():
            raise InvalidRecord(
                f"{len(unknown)} labels have no target; give one for each in targets="
            )
        if len(view) and view.codes.shape[1] != self.public.map.width:
            raise InvalidRecord(
                f"this head takes vectors of {self.public.map.width} numbers: {view.codes.shape}"
            )

    def prepare(self, state: State) -> TangentMap:
        """Solve for the weights; at 384 dimensions about 10 ms on one core.

        Equal states give equal bits in one environment (see ``forgetnet.experts.pinned``); the
        state of no records gives the public weights.

        Raises:
            StoreCorrupt: the sums of the state are no sums of squares.
        """
        if not state.meta["n"]:
            return self.public.map
        tally, start, width = tally_of(state), self.public.map, self.public.map.width
        one = 2.0**CODE_BITS  # the 1 beside a vector, in its steps
        whole = tally.sums.sum(axis=0).astype(np.float64) * one
        system = np.zeros((width + 1, width + 1))  # the upper half
        system[:width, :width] = unpack(state.tensors["gram"], width)
        system[:width, width] = whole
        system[width, width] = float(state.meta["n"]) * one * one
        penalty = self.prior * one * one
        system[np.diag_indices(width + 1)] += penalty
        sums = np.concatenate([tally.sums, tally.counts[:, None] * int(one)], axis=1)
        aims = np.stack([self._aims[str(label)] for label in tally.classes])
        # as a sum over labels, one after the other: BLAS has no fixed order
        sides = penalty / one * np.concatenate([start.weight.T, start.bias[None]])
        for row, aim in zip(sums.astype(np.float64), aims, strict=True):
            sides = sides + row[:, None] * aim[None]
        weights = _solved(system, sides) * one
        made = weights.astype(np.float32)
        weight, bias = np.ascontiguousarray(made[:-1].T), np.ascontiguousarray(made[-1])
        return TangentMap(weight, bias, start.encoder)


def _solved(system: Floats, sides: Floats) -> Floats:
    """Solve a symmetric system, given its upper half, in one thread."""
    import torch

    from forgetnet.experts.pinned import pinned

    with pinned():
        factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(system).T)
        if int(failed):
            raise StoreCorrupt("the sums of this state are no sums of squares; build it anew")
        found: Floats = torch.cholesky_solve(torch.from_numpy(sides), factor).numpy()
    return found
