"""Ridge regression on random features, over all records or those of a leaf: the additive trunk.

What it learnt are exact integer sums, so taking a record out leaves the very bytes that never
seeing it would have left. The weights are solved for from the sums, in closed form, and answers are
exact sums too: they don't depend on what else was asked in the same batch. Knows nothing of leaves
and files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord
from forgetnet.exact import Codes, Floats, fix_weights, from_fixed, to_fixed
from forgetnet.experts.expert import (
    Label,
    Probabilities,
    Stage,
    State,
    Task,
    View,
)
from forgetnet.experts.features import FeatureMap
from forgetnet.experts.moments import (
    LARGEST_WEIGHT,
    absorb_labels,
    absorb_values,
    empty_state,
    label_moments,
    tally_of,
    value_moments,
)
from forgetnet.experts.solve import Solution, choose, downdate, leave_one_out, solve
from forgetnet.experts.tally import Tally, index_labels

__all__ = ["RidgeExpert", "RidgePredictor", "RidgeTrunk", "softmax"]

RIDGES = (0.01, 0.1, 1.0)
"""What ``ridge=None`` chooses from."""
Weighting = Mapping[Label, int] | Sequence[tuple[Label, int]] | Literal["balanced"] | None
_WHOLE = Stage()
_MOST_BRIDGED = 8  # a downdate of more than m / 8 records costs about what a new factor does
_LEAST_ERROR = 1e-6


def softmax(scores: Floats) -> Floats:
    """Return exp(scores) of (n, c), scaled to rows that sum to 1."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = raised / raised.sum(axis=1, keepdims=True)
    return shares


@dataclass(frozen=True)
class RidgePredictor:
    """A solved ridge regression.

    Attributes:
        classes: in canonical order; empty for regression.
        counts: records of each class.
        features: the map from codes.
        solution: the weights; None of an empty state.
        dim: of the vectors; 0 of an empty state.
        balanced: whether answers are for classes that are all as frequent.
        exact: whether this is the solution of the sums, or one that awaits it.
        temperature: what scores are divided by before the softmax: the error of a score, left out.

    The temperature is the root of the mean squared leave-one-out error over the classes, by
    generalised cross-validation: a function of the sums alone. That it is a good one was seen, not
    proven: on the data that the defaults were chosen on it is mostly within a factor of 1.3 of the
    best one, and the calibration error 2% to 3%. Where least squares fit badly, as linear features
    on many classes, the answers come out too unsure.
    """

    classes: tuple[Label, ...] = field(repr=False)
    counts: tuple[int, ...] = field(repr=False)
    features: FeatureMap
    solution: Solution | None = field(repr=False)
    dim: int
    balanced: bool
    exact: bool = True
    temperature: float = field(init=False)
    _fixed: tuple[Floats, Floats, Floats] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", self._temperature())
        if self.solution is not None:
            weights, step = fix_weights(self.solution.weights, self.features.largest)
            object.__setattr__(self, "_fixed", (weights, step, self.solution.intercept))

    def scores(self, codes: Codes) -> Floats:
        """Map (n, d) codes to (n, k) numbers: targets, or estimates of the classes' indicators.

        Raises:
            InvalidRecord: the vectors are of another dimension.
        """
        if self.solution is None:
            return np.zeros((len(codes), len(self.classes)))
        if codes.shape[1] != self.dim:
            raise InvalidRecord(f"vectors have {self.dim} dimensions here, not {codes.shape[1]}")
        weights, step, intercept = self._fixed
        found = np.empty((len(codes), weights.shape[1]))
        for rows, features in self.features.blocks(codes):
            found[rows] = features @ weights  # whole numbers below 2^53: exact in any company
        return found * step + intercept

    def __call__(self, codes: Codes) -> Probabilities:
        """Map (n, d) codes to (n, classes) probabilities, or to (n, t) numbers.

        Raises:
            InvalidRecord: the vectors are of another dimension.
        """
        scores = self.scores(codes)
        if not self.classes:
            return scores
        scores = scores / self.temperature
        if self.balanced:
            scores = scores - np.log(self.counts)
        return softmax(scores)

    def _temperature(self) -> float:
        if self.solution is None:
            return 1.0
        moments = self.solution.moments
        constant = float(moments.power.mean()) / moments.weight  # the error of answering the mean
        error = min(float(leave_one_out(self.solution).mean()), constant)
        return math.sqrt(max(error, _LEAST_ERROR))


@dataclass(frozen=True)
class RidgeTrunk:
    """Closed-form ridge regression on random Fourier features, kept in exact integers.

    A forgotten record is subtracted, then the weights are solved for again: the cost doesn't grow
    with the records that stay. The defaults were chosen once, on public data (CLINC150, Banking77,
    digits and Adult): 2,048 features, gamma 0.5, ridge 0.05, between what suits clean and noisy
    labels. They serve dense vectors, of texts and of small tables. Of sparse ones, as check-ins at
    446 places (location30), no setting tried made least squares as good as a prototype.

    Attributes:
        features: how many random features, even.
        gamma: width of the kernel exp(-gamma |x - y|^2) of unit vectors.
        ridge: penalty as a share of the squared length of a record's features, whatever the number
            of records. None takes what of 0.01, 0.1 and 1 has the least leave-one-out error by the
            sums; it costs three factors, and there is no bridge.
        class_weight: whole numbers from 1 to 255 by class, 1 for a class that isn't named: a record
            counts so many times; kept as pairs in canonical order. ``"balanced"`` answers for
            classes that are all as frequent: probabilities are divided by the classes' shares and
            scaled to sum to 1 again (Saerens et al., "Adjusting the outputs of a classifier to new
            a priori probabilities", 2002). The counts are exact sums, so this is as easily undone
            as they are; weights by frequency inside the sums would change with every record.
        linear: ridge regression on the vectors themselves, without random features.
        task: classification or regression.

    Raises:
        InvalidRecord: a setting that no ridge regression has.
    """

    features: int = 2048
    gamma: float = 0.5
    ridge: float | None = 0.05
    class_weight: Weighting = None
    linear: bool = False
    task: Task = "classification"
    name: str = "ridge"
    influence: Influence = Influence.ADDITIVE

    def __post_init__(self) -> None:
        self._map()  # refuses what no map has
        if self.ridge is not None and not 0.0 < self.ridge < math.inf:
            raise InvalidRecord(f"ridge= is above 0 and finite, or None, not {self.ridge}")
        if self.class_weight is not None and self.task == "regression":
            raise InvalidRecord("a regression has no classes to weigh")
        if isinstance(self.class_weight, str):
            if self.class_weight != "balanced":
                raise InvalidRecord("class_weight= is 'balanced', or whole numbers by class")
        elif self.class_weight is not None:
            object.__setattr__(self, "class_weight", _pairs(dict(self.class_weight)))

    def config(self) -> Mapping[str, Any]:
        """Return the settings as JSON values."""
        named = [[label, weight] for label, weight in self._weights().items()]
        weights = self.class_weight if isinstance(self.class_weight, str) else named or None
        return {
            "class_weight": weights,
            "features": None if self.linear else self.features,
            "gamma": None if self.linear else self.gamma,
            "linear": self.linear,
            "ridge": self.ridge,
        }

    def empty(self) -> State:
        """Return the state of no records."""
        return empty_state(self.task)

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
        """Add records in blocks of bounded memory; the state that was given is used up.

        Raises:
            InvalidRecord: targets of another task, or vectors of another dimension.
        """
        if self.task == "regression":
            return absorb_values(state, view, self._map(), 1)
        return absorb_labels(state, view, self._map(), self._weights(), 1)

    def expel(self, state: State, view: View) -> State:
        """Subtract records that were absorbed; the state that was given is used up.

        Raises:
            InvalidRecord: they can't have been absorbed: a count would fall below zero.
        """
        if self.task == "regression":
            return absorb_values(state, view, self._map(), -1)
        return absorb_labels(state, view, self._map(), self._weights(), -1)

    def prepare(self, state: State) -> RidgePredictor:
        """Solve for the weights.

        Raises:
            StoreCorrupt: the sums of the state are no sums of squares.
        """
        tally = None if self.task == "regression" else tally_of(state)
        if not state.meta["n"]:
            return self._predictor(None, tally, 0)
        moments = label_moments(tally, self._weights()) if tally else value_moments(state)
        energy = self._map().energy
        choices = [
            solve(state.tensors["gram"], moments, ridge * energy)
            for ridge in (RIDGES if self.ridge is None else (self.ridge,))
        ]
        solution = choose(choices, relative=self.task == "regression")
        return self._predictor(solution, tally, state.meta["dim"])

    def bridge(self, before: Any, view: View) -> RidgePredictor | None:
        """Downdate solved weights by Woodbury's identity, within about 1e-12 of solving again.

        None where the penalty is chosen by the data, for the choice could change; of more than
        features / 8 records; and where no record would be left.

        Raises:
            InvalidRecord: the records can't have been absorbed.
        """
        if not isinstance(before, RidgePredictor) or before.solution is None or self.ridge is None:
            return None
        solution, width = before.solution, len(before.solution.weights)
        gone = len(view) + len(solution.removed)
        if gone * _MOST_BRIDGED > width or len(view) >= solution.moments.count:
            return None
        if not len(view):
            return replace(before, exact=False)
        rows = self._map()(view.codes)
        if self.task == "regression":
            values = from_fixed(to_fixed(view.values)).reshape(len(view), -1)
            left = downdate(solution, rows, values, np.ones(len(view)))
            return replace(before, solution=left, exact=False)
        classes, index = index_labels(view.labels)
        gone_counts = dict(zip(classes, np.bincount(index).tolist(), strict=True))
        had = zip(before.classes, before.counts, strict=True)
        counts = [count - gone_counts.pop(label, 0) for label, count in had]
        if gone_counts or min(counts) < 0:
            raise InvalidRecord("these records can't have been absorbed: a class has not so many")
        where = np.array([before.classes.index(label) for label in classes])
        weights = np.array([self._weights().get(label, 1) for label in classes], np.float64)
        indicators = np.eye(len(before.classes))[where[index]]
        left = downdate(solution, rows, indicators, weights[index])
        kept = [i for i, n in enumerate(counts) if n]
        return replace(
            before,
            classes=tuple(before.classes[i] for i in kept),
            counts=tuple(counts[i] for i in kept),
            solution=left.keep(kept),
            exact=False,
        )

    def _predictor(
        self, solution: Solution | None, tally: Tally | None, dim: int
    ) -> RidgePredictor:
        balanced = self.class_weight == "balanced"
        classes = () if tally is None else tally.classes
        counts = () if tally is None else tuple(tally.counts.tolist())
        return RidgePredictor(classes, counts, self._map(), solution, dim, balanced)

    def _map(self) -> FeatureMap:
        return FeatureMap(self.features, self.gamma, self.linear)

    def _weights(self) -> dict[Label, int]:
        named = None if isinstance(self.class_weight, str) else self.class_weight
        return dict(named or ())


RidgeExpert = RidgeTrunk
"""The same, in the place of an expert of one leaf."""


def _pairs(weights: Mapping[Label, int]) -> tuple[tuple[Label, int], ...]:
    classes, _ = index_labels(list(weights))
    for weight in weights.values():
        if type(weight) is not int or not 1 <= weight <= LARGEST_WEIGHT:
            raise InvalidRecord(f"weights of classes are whole, from 1 to {LARGEST_WEIGHT}")
    return tuple((label, weights[label]) for label in classes)
