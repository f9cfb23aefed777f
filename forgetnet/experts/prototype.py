"""Nearest centroid: a class is the sum of its records, in exact integers, and nothing else.

Knows nothing of leaves and files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord
from forgetnet.exact import CODE_BITS, Codes, Floats, fix_weights
from forgetnet.experts.expert import Label, Probabilities, Stage, State, Task, View
from forgetnet.experts.features import BLOCK
from forgetnet.experts.ridge import softmax
from forgetnet.experts.tally import Tally, index_labels, sum_by_class

__all__ = ["PrototypeExpert", "PrototypePredictor", "lift"]

Space = Literal["content", "lorentz"]

_WHOLE = Stage()
_LIFT_BITS = 20
_LONGEST = 1.1
_TERMS = 12
_DEFAULT_TEMPERATURE = 0.04  # what CLINC150 comes to; used where no class has two records
_CLOSEST = 1.0 - 1e-3
_CODE_LIMIT = 2**15


def lift(codes: Codes) -> Floats:
    """Walk from the origin of the Lorentz model along (n, d) codes to (n, d + 1) whole numbers.

    ``expmap0`` of curvature -1 in steps of 2^-20, time first. sinh(r) / r and cosh(r) are twelve
    terms of their series in r^2: sums and products only, so the bits are the same on every machine.

    Raises:
        InvalidRecord: a vector is longer than 1.1; the series is meant for unit vectors.
    """
    wide = codes.astype(np.float64)
    square = (wide * wide).sum(axis=1, keepdims=True) * 4.0**-CODE_BITS
    if bool((square > _LONGEST**2).any()):
        raise InvalidRecord("only unit vectors can be lifted; normalise them first")
    sinhc, cosh = np.zeros_like(square), np.zeros_like(square)
    for term in reversed(range(_TERMS)):
        sinhc = sinhc * square + 1.0 / math.factorial(2 * term + 1)
        cosh = cosh * square + 1.0 / math.factorial(2 * term)
    space = sinhc * (wide * 2.0**-CODE_BITS)
    return np.rint(np.concatenate([cosh, space], axis=1) * 2.0**_LIFT_BITS)


@dataclass(frozen=True)
class PrototypePredictor:
    """Centroids, ready to be compared with.

    Attributes:
        classes: in canonical order.
        space: where the centroids lie.
        centroids: (C, d) unit vectors, or (C, d + 1) points of the Lorentz model.
        temperature: what similarities are divided by before the softmax.
        exact: always; there is nothing to wait for.
    """

    classes: tuple[Label, ...] = field(repr=False)
    space: Space
    centroids: Floats = field(repr=False)
    temperature: float
    exact: bool = True
    _fixed: tuple[Floats, Floats] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        weights, largest = self.centroids.T, _CODE_LIMIT
        if self.space == "lorentz":  # time counts against
            weights = weights * np.where(np.arange(len(weights)) == 0, -1.0, 1.0)[:, None]
            largest = int(math.cosh(_LONGEST) * 2**_LIFT_BITS) + 1
        object.__setattr__(self, "_fixed", fix_weights(weights, largest))

    def similarities(self, codes: Codes) -> Floats:
        """Map (n, d) codes to (n, C) cosines, or Lorentz products, which are -cosh(distance).

        Raises:
            InvalidRecord: the vectors are of another dimension.
        """
        if not self.classes:
            return np.zeros((len(codes), 0))
        dim = self.centroids.shape[1] - (self.space == "lorentz")
        if codes.shape[1] != dim:
            raise InvalidRecord(f"vectors have {dim} dimensions here, not {codes.shape[1]}")
        weights, step = self._fixed
        found = np.empty((len(codes), len(self.classes)))
        for rows, some in _blocks(codes, self.space):
            product = some @ weights * step  # of whole numbers below 2^53: exact in any company
            if self.space == "content":
                length = np.sqrt((some * some).sum(axis=1, keepdims=True))
                found[rows] = product / np.where(length > 0.0, length, 1.0)
            else:
                found[rows] = product * 2.0**-_LIFT_BITS
        return found

    def __call__(self, codes: Codes) -> Probabilities:
        """Map (n, d) codes to (n, classes) probabilities.

        Raises:
            InvalidRecord: the vectors are of another dimension.
        """
        if not self.classes:
            return np.zeros((len(codes), 0))
        return softmax(self.similarities(codes) / self.temperature)


@dataclass(frozen=True)
class PrototypeExpert:
    """Classify by the nearest class centroid; forgetting is a subtraction, nothing is solved.

    Snell et al., "Prototypical networks for few-shot learning" (2017), without the network. Good
    with few records of each class, and as the cheapest expert there is: C sums of d numbers.

    Attributes:
        space: ``content`` compares by the cosine to the mean. ``lorentz`` lifts vectors to the
            Lorentz model and compares by the distance to the Lorentz centroid, the normalised sum
            (Law et al., "Lorentzian distance learning for hyperbolic representations", 2019).
            Unit vectors all get one radius there, so pairs of records rank as by cosine; but the
            centroid of a broad class lies nearer to the origin than that of a narrow one, and so
            attracts what is far from every class. That is what it is for: classes of unequal
            breadth, such as a genus beside its species. It adds nothing where classes are alike.
        temperature: of the softmax; None for one from the sums alone.
        task: classification; regression is refused.

    Raises:
        InvalidRecord: a setting that it doesn't have.
    """

    space: Space = "content"
    temperature: float | None = None
    task: Task = "classification"
    name: str = "prototype"
    influence: Influence = Influence.ADDITIVE

    def __post_init__(self) -> None:
        if self.task != "classification":
            raise InvalidRecord("a prototype stands for a class; use the ridge for a regression")
        if self.space not in {"content", "lorentz"}:
            raise InvalidRecord("space= is 'content' or 'lorentz'")
        if self.temperature is not None and not 0.0 < self.temperature < math.inf:
            raise InvalidRecord(f"temperature= is above 0 and finite, not {self.temperature}")

    def config(self) -> Mapping[str, Any]:
        """Return the settings as JSON values."""
        return {"space": self.space, "temperature": self.temperature}

    def empty(self) -> State:
        """Return the state of no records."""
        return _state(Tally((), np.zeros(0, np.int64), np.zeros((0, 0), np.int64)), 0)

    def fit(
        self, view: View, seed: int, start: State | None = None, stage: Stage = _WHOLE
    ) -> State:
        """Sum over the records of a view; seed, start and stage have no say.

        Raises:
            InvalidRecord: there is nothing to learn from, or the targets are of another task.
        """
        if not len(view):
            raise InvalidRecord("there is nothing to learn from: the view has no records")
        return self.absorb(self.empty(), view)

    def absorb(self, state: State, view: View) -> State:
        """Add records; the state that was given is used up.

        Raises:
            InvalidRecord: targets of another task, or vectors of another dimension.
        """
        return self._changed(state, view, 1)

    def expel(self, state: State, view: View) -> State:
        """Subtract records that were absorbed; the state that was given is used up.

        Raises:
            InvalidRecord: they can't have been absorbed: a count would fall below zero.
        """
        return self._changed(state, view, -1)

    def prepare(self, state: State) -> PrototypePredictor:
        """Scale the sums to centroids."""
        tally = _tally(state)
        if not tally.classes:
            return PrototypePredictor((), self.space, np.zeros((0, 0)), self.temperature or 1.0)
        sums = tally.sums.astype(np.float64)
        if self.space == "content":
            centroids, breadth = _unit(sums), 1.0
            summed = sums * 2.0**-CODE_BITS
        else:
            centroids = _centroids(sums)
            # the product grows with the cosine of the angle as sinh(1) times the centroid's space
            breadth = math.sinh(1.0) * float(np.linalg.norm(centroids[:, 1:], axis=1).mean())
            summed = sums[:, 1:] * (2.0**-_LIFT_BITS / math.sinh(1.0))
        heat = self.temperature
        if heat is None:
            heat = max(_temperature(summed, tally.counts.astype(np.float64)) * breadth, 1e-6)
        return PrototypePredictor(tally.classes, self.space, centroids, heat)

    def bridge(self, before: Any, view: View) -> None:
        """Return None: there is no quicker way than ``prepare``."""

    def _changed(self, state: State, view: View, sign: int) -> State:
        classes, index = index_labels(view.labels)
        if not len(view):
            return state
        have, dim = _tally(state), int(view.codes.shape[1])
        if have.classes and dim != state.meta["dim"]:
            raise InvalidRecord(f"vectors have {state.meta['dim']} dimensions here, not {dim}")
        counts = np.bincount(index, minlength=len(classes)).astype(np.int64)
        width = dim + (self.space == "lorentz")
        seen = Tally(classes, counts, np.zeros((len(classes), width), np.int64))
        if sign < 0:
            have.check(seen)
        for rows, some in _blocks(view.codes, self.space):
            sum_by_class(seen.sums, some, index[rows])
        return _state(have.combined(seen, sign), dim)


def _blocks(codes: Codes, space: Space) -> Iterator[tuple[slice, Floats]]:
    for start in range(0, len(codes), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, lift(codes[rows]) if space == "lorentz" else codes[rows].astype(np.float64)


def _tally(state: State) -> Tally:
    sums = state.tensors["sums"]
    own = sums if sums.flags.writeable else sums.copy()
    return Tally(tuple(state.meta["classes"]), state.tensors["counts"], own)


def _state(tally: Tally, dim: int) -> State:
    n = int(tally.counts.sum())
    sums = tally.sums if n else np.zeros((0, 0), np.int64)
    meta = {"classes": list(tally.classes), "dim": dim if n else 0, "n": n}
    return State({"counts": tally.counts, "sums": sums}, meta)


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = rows / np.where(length > 0.0, length, 1.0)
    return scaled


def _centroids(sums: Floats) -> Floats:
    import torch

    from forgetnet.geometry import lorentz

    found: Floats = lorentz.centroid(torch.from_numpy(sums)[:, None], k=1.0).numpy()
    return found


def _temperature(sums: Floats, counts: Floats) -> float:
    """Return the noise of a cosine, as far as it tells classes apart.

    With r^2 the mean cosine of two records of a class, without bias from the sums alone, the
    concentration of a von Mises-Fisher law is kappa = r (d - r^2) / (1 - r^2) (Banerjee et al.,
    "Clustering on the unit hypersphere using von Mises-Fisher distributions", 2005). The root of
    (1 - the mean cosine of two centroids) / kappa is a good temperature; that was seen on public
    data, not proven, and where the spread within classes has few directions it is too small.
    """
    pairs = float((counts * (counts - 1.0)).sum())
    if pairs == 0.0 or len(sums) < 2:
        return _DEFAULT_TEMPERATURE
    same = (float((sums * sums).sum()) - float(counts.sum())) / pairs
    same = min(max(same, 1.0 - _CLOSEST), _CLOSEST)
    r = math.sqrt(same)
    kappa = r * (sums.shape[1] - same) / (1.0 - same)
    whole, each = _unit(sums).sum(axis=0), float(len(sums))
    other = (float(whole @ whole) - each) / (each * (each - 1.0))
    return math.sqrt(max(1.0 - other, 1e-3) / max(kappa, 1e-3))
