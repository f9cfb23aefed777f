"""An expert without a state: it answers from the rows of the memory, by the nearest of them.

What is deleted from the memory is gone from its answers in the same moment, so it holds nothing
and there is nothing to retrain. Knows nothing of stores: the rows near a query are given to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord
from forgetnet.experts.expert import Label, Probabilities, Target, Task

__all__ = ["Neighbour", "NeighbourExpert"]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row near a query.

    Attributes:
        id: of the record.
        similarity: the cosine of record and query.
        target: what the record teaches.
    """

    id: str
    similarity: float
    target: Target


@dataclass(frozen=True)
class NeighbourExpert:
    """The k nearest rows, weighed by a softmax of their similarity or all alike.

    Attributes:
        task: classification or regression.
        k: how many rows have a say; fewer where there are no more.
        temperature: of the softmax, a constant; ``weights`` are exp(similarity / temperature).
        weights: ``softmax``, or ``uniform`` for a plain vote.
    """

    task: Task = "classification"
    k: int = 16
    temperature: float = 0.05
    weights: Literal["softmax", "uniform"] = "softmax"
    name: str = "memory"
    influence: Influence = Influence.LOCAL

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InvalidRecord(f"k must be at least 1, not {self.k}")
        if not 0.0 < self.temperature < math.inf:
            raise InvalidRecord(f"temperature must be above 0 and finite, not {self.temperature}")
        if self.weights not in {"softmax", "uniform"}:
            raise InvalidRecord("weights= is 'softmax' or 'uniform'")

    def config(self) -> Mapping[str, Any]:
        """Return the settings as JSON values."""
        return {
            "k": self.k,
            "temperature": self.temperature if self.weights == "softmax" else None,
            "weights": self.weights,
        }

    def chosen(self, near: Sequence[Neighbour]) -> list[tuple[Neighbour, float]]:
        """Return the k nearest, equals in the order of their ids, with weights that sum to 1."""
        kept = sorted(near, key=lambda row: (-row.similarity, row.id))[: self.k]
        if self.weights == "uniform" or not kept:
            return [(row, 1.0 / len(kept)) for row in kept]
        best = kept[0].similarity
        raw = [math.exp((row.similarity - best) / self.temperature) for row in kept]
        total = math.fsum(raw)
        return [(row, weight / total) for row, weight in zip(kept, raw, strict=True)]

    def answer(
        self, neighbours: Sequence[Sequence[Neighbour]], classes: Sequence[Label] = ()
    ) -> Probabilities:
        """Answer n queries from the rows near them, in any order; a query without rows gets 0.

        Args:
            neighbours: for each query, at least its k nearest live rows, or all there are.
            classes: labels of the answer's columns; none for a regression.

        Returns:
            (n, classes) probabilities, or (n, t) numbers.

        Raises:
            InvalidRecord: a row's target is of another task, none of the classes, or of another
                length than the others.
        """
        if self.task == "regression":
            return self._values(neighbours)
        column = {label: n for n, label in enumerate(classes)}
        answers = np.zeros((len(neighbours), len(classes)))
        for n, near in enumerate(neighbours):
            for row, weight in self.chosen(near):
                if isinstance(row.target, tuple) or row.target not in column:
                    raise InvalidRecord(f"the label of record {row.id!r} is none of the classes")
                answers[n, column[row.target]] += weight
        return answers

    def _values(self, neighbours: Sequence[Sequence[Neighbour]]) -> Probabilities:
        told = [[(_numbers(row), w) for row, w in self.chosen(near)] for near in neighbours]
        widths = {len(values) for near in told for values, _ in near}
        if len(widths) > 1:
            raise InvalidRecord(f"the rows' targets have several lengths: {sorted(widths)}")
        answers = np.zeros((len(neighbours), max(widths, default=1)))
        for n, near in enumerate(told):
            for values, weight in near:
                answers[n] += weight * np.array(values)
        return answers


def _numbers(row: Neighbour) -> tuple[float, ...]:
    if isinstance(row.target, str):
        raise InvalidRecord(f"the target of record {row.id!r} is a label, not a number")
    return row.target if isinstance(row.target, tuple) else (float(row.target),)
